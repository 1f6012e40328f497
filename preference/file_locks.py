"""Whether a process works at something, by the lock that it holds: a file that it left may be a killed one's."""

import fcntl
from pathlib import Path


def is_held(lock: Path) -> bool:
    """Whether some process holds this FileLock.

    Asking makes no file and needs no right to write. It shares the lock for a moment, so whoever takes it has to wait a little.

    Raises:
        OSError: it may not be read, or the storage has no file locks.
    """
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):  # nobody ever took it
        return False
    except BlockingIOError:
        return True
    return False
