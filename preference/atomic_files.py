"""Files that a crash of the machine leaves as they were before or as they are after, never between."""

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from preference.errors import RegistryError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LEFTOVER_SECONDS = 3600.0  # no writer takes so long


def write_whole(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Writes a temporary neighbour, syncs it where it must outlive a crash of the machine, and renames it into place.

    What killed writers of the same file left is swept.

    Raises:
        OSError: the folder is not writable, or the disk is full; the file is as it was.
    """
    _sweep(path)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        if is_durable:
            sync(temporary)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Makes what the disk refuses, or a lock that is held for too long, one RegistryError that names the folder."""
    try:
        yield
    except Timeout as error:
        raise RegistryError(f"{folder} is locked by another process for long; try again.") from error
    except OSError as error:
        mend = "free some space" if error.errno in DISK_FULL else "mount it read-write"
        raise RegistryError(f"MODEL_DIR is not writable at {folder} ({error.strerror}); {mend}.") from error


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{path.name}-*"):
        with suppress(OSError):  # another writer may be sweeping, too
            if abs(time.time() - leftover.stat().st_mtime) > _LEFTOVER_SECONDS:
                leftover.unlink()
