"""One round of a project at a time, whoever runs it: the lock of a project."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from preference.atomic_files import writing
from preference.errors import TrainingError
from preference.projects.folder import ProjectFolder


@contextmanager
def only_round(folder: ProjectFolder) -> Iterator[None]:
    """Holds the project's lock: one round of a project at a time, whoever runs it.

    Raises:
        TrainingError: another process holds it.
        RegistryError: MODEL_DIR is not writable.
    """
    folder.create()
    lock = FileLock(folder.path / "round.lock")
    with writing(folder.path):
        try:
            lock.acquire(timeout=1)  # not 0: somebody may only be asking whether a round is running
        except Timeout:
            raise TrainingError(busy(folder)) from None
    try:
        yield
    finally:
        lock.release()


def is_running(folder: ProjectFolder) -> bool:
    """Whether some process is in the middle of a round of this project."""
    lock = FileLock(folder.path / "round.lock")
    if not folder.path.is_dir():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def busy(folder: ProjectFolder) -> str:
    """Why no round can begin: one of this project is running."""
    return f"Another process is in the middle of a round of project {folder.project_id}; this one leaves it to that."
