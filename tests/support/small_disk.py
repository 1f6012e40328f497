"""A file system that a test fills up, or mounts read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def leave_free(self, num_bytes: int) -> None:
        """Fills the disk, but for so much."""
        self.free()
        state = os.statvfs(self.path)
        room = state.f_bavail * state.f_frsize - num_bytes
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """A disk of 4 MB at `path`; the test is skipped if none can be mounted."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here ({mounted.stderr.strip()})")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)
