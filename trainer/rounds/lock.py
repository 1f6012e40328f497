"""One round of a project at a time, whoever runs it, and one alignment: the locks of a project."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from preference.atomic_files import writing
from preference.errors import TrainingError
from preference.file_locks import is_held
from preference.projects.folder import ProjectFolder
from trainer.rounds.work import ROUND, Work


@contextmanager
def only_one(folder: ProjectFolder, work: Work = ROUND) -> Iterator[None]:
    """Holds the project's lock: one round, or other `work`, of a project at a time, whoever does it.

    Raises:
        TrainingError: another process holds it.
        RegistryError: MODEL_DIR is not writable.
    """
    folder.create()
    lock = FileLock(folder.path / work.lock)
    with writing(folder.path):
        try:
            lock.acquire(timeout=1)  # not 0: somebody may only be asking whether it is held
        except Timeout:
            raise TrainingError(busy(folder, work)) from None
    try:
        yield
    finally:
        lock.release()


def is_running(folder: ProjectFolder, work: Work = ROUND) -> bool:
    """Whether some process is in the middle of it.

    Raises:
        OSError: that cannot be found out.
    """
    return is_held(folder.path / work.lock)


def busy(folder: ProjectFolder, work: Work = ROUND) -> str:
    """Why none can begin: one of this project is running."""
    return f"Another process is in the middle of {work.one} of project {folder.project_id}; this one leaves it to that."
