"""The folder of one project, which both processes share.

    MODEL_DIR/projects/<project id>/
        champion              one line: the served version (os.replace, always last)
        versions/<version>/   a trained version (versions.py)
        requests/<kind>       what one process asks of the other; asking twice is asking once
        raters/               what LLMs said as judges (trainer/rating/replies.py, preference/report_card/raters.py)
        certificates/         looks at blind judgements, and their audits (preference/report_card/certificate.py)
        served_answers.json   what the generator wrote that newer ones are judged beside (trainer/aligning/kept_answers.py)
        duels.json            what people say of two generators (preference/duels/figures.py)
        learnt_from/          the head of an earlier project's champion (preference/reward_model/earlier_project.py)
        guidelines.json       what annotators were shown, and since when (guidelines.py)
        backend_host          where Label Studio last reached the backend, "host:port"
        sampling.json         the order of its tasks before it was connected (backend/connecting/task_order.py)
        disconnected          while it stands, no process looks after the project
        filling.json          how far the filler is (status_files.py)
        waiting.json, last_round.json, last_alignment.json   how the training stands (status_files.py)

Covered: a kill at any time; a disk that is full or read-only.
Not covered: storage without atomic rename.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock

from preference.atomic_files import write_whole, writing

RequestKind = Literal["train", "align", "fill", "look"]
_DISCONNECTED = "disconnected"
_PROJECT = re.compile(r"[1-9][0-9]*")


class ProjectFolder:
    """What MODEL_DIR keeps of one project. Safe for any number of processes."""

    def __init__(self, model_dir: Path, project_id: int) -> None:
        self.project_id = project_id
        self.model_dir = model_dir
        self.path = model_dir / "projects" / str(int(project_id))
        self._requests = self.path / "requests"

    def create(self) -> None:
        """Makes the project known to both processes.

        Raises:
            RegistryError: MODEL_DIR is not writable.
        """
        with writing(self.path):
            for folder in (self.path / "versions", self._requests):
                folder.mkdir(parents=True, exist_ok=True)

    def disconnect(self) -> None:
        """Makes the project unknown to both processes until it is reconnected, whatever is asked meanwhile; its versions stay.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        if self.path.is_dir():
            with writing(self.path):
                (self.path / _DISCONNECTED).touch()

    def reconnect(self) -> None:
        """Makes a disconnected project known again. Called only if somebody connects it.

        Raises:
            RegistryError: MODEL_DIR is not writable.
        """
        with writing(self.path):
            (self.path / _DISCONNECTED).unlink(missing_ok=True)

    @property
    def is_disconnected(self) -> bool:
        """Whether it was disconnected, and not connected again; False if its folder may not be read."""
        try:
            return (self.path / _DISCONNECTED).exists()
        except OSError:  # one such folder must not hide the others; whoever reads more of it reports the error
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        with writing(self.path), FileLock(self.path / ".lock", timeout=60):
            yield

    # Requests

    def request(self, kind: RequestKind) -> None:
        """Asks for something: of the trainer a round (`train`) or an alignment (`align`), of the filling worker a pass now (`fill`) or soon (`look`).

        While a project is disconnected, nobody takes its requests.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        self.create()
        with writing(self.path):
            (self._requests / kind).touch()

    def is_requested(self, kind: RequestKind) -> bool:
        """Whether that was asked for and is not taken yet."""
        return (self._requests / kind).exists()

    def take_request(self, kind: RequestKind) -> bool:
        """Whether that was asked for since the last call.

        Raises:
            RegistryError: it was, and MODEL_DIR is not writable.
        """
        request = self._requests / kind
        if not request.exists():
            return False
        with writing(self.path):
            try:
                request.unlink()
            except FileNotFoundError:  # another process took it
                return False
        return True

    # Where the backend is

    def write_host(self, host: str) -> None:
        """Remembers the host and port by which Label Studio reaches the backend.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        with writing(self.path):
            write_whole(self.path / "backend_host", host)

    def read_host(self) -> str | None:
        """The remembered "host:port", or None."""
        try:
            return (self.path / "backend_host").read_text(encoding="utf-8", errors="backslashreplace").strip() or None
        except FileNotFoundError:
            return None


def known_projects(model_dir: Path) -> Iterator[ProjectFolder]:
    """The folder of every project that spoke with a backend on this MODEL_DIR and was not disconnected, by project id."""
    try:
        ids = sorted(int(path.name) for path in (model_dir / "projects").iterdir() if _PROJECT.fullmatch(path.name))
    except FileNotFoundError:
        return
    for folder in (ProjectFolder(model_dir, project_id) for project_id in ids):
        if not folder.is_disconnected:
            yield folder
