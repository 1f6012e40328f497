"""Files that are replaced whole, and folders that appear whole: after a crash of the machine there is never half of one."""

import errno
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from preference.errors import RegistryError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LEFTOVER_SECONDS = 3600.0  # no writer takes so long


def write_whole(path: Path, content: str | bytes, *, is_durable: bool = True, is_private: bool = False) -> None:
    """Writes a file as `replacing` does.

    Raises:
        OSError: the folder is not writable, or the disk is full; the file is as it was.
    """
    with replacing(path, is_durable=is_durable, is_private=is_private) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, is_durable: bool = True, is_private: bool = False, is_only_writer: bool = False) -> Iterator[Path]:
    """A temporary neighbour to be written, which takes the place of `path` unless something is raised.

    `is_durable`: it outlives a crash of the machine. `is_private`: its user alone may read it, from its first byte on.
    Temporary files of killed writers are deleted: at once if `is_only_writer`, which a lock must warrant, else after an hour.

    Raises:
        OSError: the folder is not writable, or the disk is full; the file is as it was.
    """
    _sweep(path, older_than_seconds=-1 if is_only_writer else _LEFTOVER_SECONDS)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        if is_private:
            temporary.touch(mode=0o600, exist_ok=False)
        yield temporary
        if is_durable:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary neighbour, to be made and filled, which becomes `path` unless something is raised; it outlives a crash of the machine.

    One writer at a time, which a lock must warrant: what killed ones left beside `path` is deleted.

    Raises:
        OSError: the folder above is not writable, the disk is full, or `path` is there; nothing remains.
    """
    with unfinished_folder(path.parent) as temporary:
        yield temporary
        sync_all(temporary)
        temporary.rename(path)
        sync(path.parent)


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A path in `parent`, for a folder to be made, filled and renamed. What is not renamed at the end is deleted.

    One writer at a time, as in `new_folder`.
    """
    for leftover in parent.glob(".unfinished-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = parent / f".unfinished-{uuid.uuid4().hex}"
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_all(folder: Path) -> None:
    """Waits until a folder and all that is in it are on the disk."""
    for written in folder.rglob("*"):
        sync(written)
    sync(folder)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a refusal of the disk, or a lock that is held for too long, into one RegistryError that names the folder."""
    try:
        yield
    except Timeout as error:
        raise RegistryError(f"{folder} is locked by another process for long; try again.") from error
    except OSError as error:
        fix = "free some space" if error.errno in DISK_FULL else "mount it read-write"
        raise RegistryError(f"MODEL_DIR is not writable at {folder} ({error.strerror}); {fix}.") from error


def _sweep(path: Path, *, older_than_seconds: float) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}-*"):
        if not re.fullmatch(r"[0-9a-f]{32}", leftover.name.rpartition("-")[2]):
            continue  # in a folder of the user's, it may be theirs
        with suppress(OSError):  # another writer may be sweeping, too
            if abs(time.time() - leftover.stat().st_mtime) > older_than_seconds:
                leftover.unlink()
