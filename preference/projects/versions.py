"""The versions of one project's reward model, in a folder that both processes share.

    MODEL_DIR/projects/<project id>/
        champion              one line: the served version (os.replace, always last)
        versions/<version>/   immutable: weights, tokenizer, README.md, and card.json, whose presence makes it a version;
                              beside them promotions.jsonl, which grows (promotions.py)
        requests/<kind>       what one process asks of the other; asking twice is asking once
        backend_host          where Label Studio last reached the backend, "host:port"
        disconnected          while it stands, no process looks after the project
        filling.json          how far the filler is
        waiting.json, last_round.json   how the training stands (standing.py)

Covered: a reader never sees half a version or half a pointer; two publishers never share a version name; a kill at any time;
a disk that is full or read-only; a clock that is set back.
Not covered: storage without atomic rename.
"""

import dataclasses
import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from preference.atomic_files import sync, write_whole, writing
from preference.errors import RegistryError
from preference.projects.promotions import PROMOTIONS, By, champions_before, log_promotion, next_moment, read_promotions
from preference.report_card.card import ModelCard

UNTRAINED = "pairloop-untrained"  # what every place shows as the version while there is none
RequestKind = Literal["train", "fill", "look"]
_DISCONNECTED = "disconnected"
_VERSION = re.compile(r"v(\d+)-\d{8}-\d{6}")
_PROJECT = re.compile(r"[1-9][0-9]*")


class Registry:
    """One project's versions. Safe for any number of processes."""

    def __init__(self, model_dir: Path, project_id: int) -> None:
        self.project_id = project_id
        self.folder = model_dir / "projects" / str(int(project_id))
        self._versions = self.folder / "versions"
        self._requests = self.folder / "requests"

    def create(self) -> None:
        """Makes the project known to both processes.

        Raises:
            RegistryError: MODEL_DIR is not writable.
        """
        with writing(self.folder):
            for folder in (self._versions, self._requests):
                folder.mkdir(parents=True, exist_ok=True)

    def retire(self) -> None:
        """Makes the project unknown to both processes, until it is recalled, whatever is asked meanwhile; its versions stay.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        if self.folder.is_dir():
            with writing(self.folder):
                (self.folder / _DISCONNECTED).touch()

    def recall(self) -> None:
        """Makes a retired project known again: to be called where somebody connects it, and nowhere else.

        Raises:
            RegistryError: MODEL_DIR is not writable.
        """
        with writing(self.folder):
            (self.folder / _DISCONNECTED).unlink(missing_ok=True)

    @property
    def is_retired(self) -> bool:
        """Whether it was disconnected, and not connected again; no, where its folder may not be looked into."""
        try:
            return (self.folder / _DISCONNECTED).exists()
        except PermissionError:  # one such folder must not hide the others; who reads on in it says so
            return False

    # Versions

    def versions(self) -> list[str]:
        """Published versions, oldest first."""
        try:
            names = [path.name for path in self._versions.iterdir() if _VERSION.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        return sorted((name for name in names if (self._versions / name / "card.json").is_file()), key=_number)

    def path(self, version: str) -> Path:
        """The folder of a version.

        Raises:
            RegistryError: there is no such version.
        """
        if not _VERSION.fullmatch(version) or not (self._versions / version / "card.json").is_file():
            raise RegistryError(
                f"Project {self.project_id} has no version {version!r}; it has: {', '.join(self.versions()) or 'none'}."
            )
        return self._versions / version

    def card(self, version: str) -> ModelCard:
        """The card of a version, with its promotions so far."""
        folder = self.path(version)
        return dataclasses.replace(ModelCard.read(folder / "card.json"), promotions=read_promotions(folder))

    def publish(self, folder: Path, card: ModelCard) -> str:
        """The new version's name, after a copy of `folder` with the completed card stands in the registry whole.

        Raises:
            RegistryError: MODEL_DIR is full or not writable, or `folder` cannot be read; nothing of the version is left.
        """
        self.create()
        with self._locked():
            now = datetime.now(UTC)
            number = (
                max((_number(path.name) for path in self._versions.iterdir() if _VERSION.fullmatch(path.name)), default=0) + 1
            )
            version = f"v{number}-{now:%Y%m%d-%H%M%S}"
            card = dataclasses.replace(card, version=version, created_at=now.isoformat(timespec="seconds"))
            for leftover in self._versions.glob(".unfinished-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = self._versions / f".unfinished-{uuid.uuid4().hex}"
            try:
                shutil.copytree(folder, temporary, ignore=shutil.ignore_patterns(PROMOTIONS))
                temporary.chmod(self._versions.stat().st_mode)  # a round's scratch folder is its user's alone (0700)
                write_whole(temporary / "card.json", card.to_json())
                for path in temporary.rglob("*"):
                    sync(path)
                sync(temporary)
                temporary.rename(self._versions / version)
            except OSError as error:
                shutil.rmtree(temporary, ignore_errors=True)
                # copytree gathers what went wrong into one error: (source, target, why) of each file.
                reason = error.strerror or (error.args[0][0][2] if isinstance(error, shutil.Error) else str(error))
                raise RegistryError(
                    f"A new version cannot be written to {self._versions} ({reason}); free some space, or mend what that names. The champion stays."
                ) from error
            sync(self._versions)
        return version

    # The champion

    def champion(self) -> str | None:
        """The promoted version as the pointer names it (it may be broken or gone), or None before the first.

        A damaged pointer names no version that there is, whatever its bytes are.
        """
        try:
            return (self.folder / "champion").read_text(encoding="utf-8", errors="backslashreplace").strip() or None
        except FileNotFoundError:
            return None

    def promote(self, version: str, *, by: By = "judge", reason: str = "") -> None:
        """Makes `version` the champion, and logs that in its folder.

        Raises:
            RegistryError: there is no such version, or MODEL_DIR is full or not writable; the champion stays.
        """
        self.path(version)
        with self._locked():
            self._point(version, by=by, reason=reason)

    def rollback(self, *, reason: str = "") -> str:
        """The version that was champion before the present one, and is it again; a second rollback goes further back.

        Raises:
            RegistryError: there is none, or it is gone, or MODEL_DIR is full or not writable.
        """
        if self.champion() is None:
            raise RegistryError(f"Project {self.project_id} has no champion yet, so there is nothing to roll back.")
        with self._locked():
            before = self.champion_before()
            if before is None:
                known = ", ".join(self.versions()) or "none"
                raise RegistryError(
                    f"Project {self.project_id} has no champion before {self.champion()} in its log; promote one of: {known}."
                )
            self.path(before)
            self._point(before, by="rollback", reason=reason)
        return before

    def champion_before(self) -> str | None:
        """The version that a rollback would serve, which may be gone; None where the log knows of none."""
        promotions = {path.name: read_promotions(path) for path in self._versions.glob("v*")}
        return next(reversed(champions_before(self.champion() or "", promotions)), None)

    # Requests

    def request(self, kind: RequestKind) -> None:
        """Asks for something: of the trainer a round (`train`), of the filling worker a pass now (`fill`) or soon (`look`).

        Of a retired project, nobody takes it before that is recalled.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        self.create()
        with writing(self.folder):
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
        with writing(self.folder):
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
        with writing(self.folder):
            write_whole(self.folder / "backend_host", host)

    def read_host(self) -> str | None:
        """The remembered "host:port", or None."""
        try:
            return (self.folder / "backend_host").read_text(encoding="utf-8", errors="backslashreplace").strip() or None
        except FileNotFoundError:
            return None

    # How far the filling is

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Remembers how far the filler is, for every process that is asked.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        with writing(self.folder):
            write_whole(self.folder / "filling.json", json.dumps(progress), is_durable=False)

    def read_progress(self) -> dict[str, Any]:
        """What was last remembered; empty before."""
        try:
            progress = json.loads((self.folder / "filling.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return progress if isinstance(progress, dict) else {}

    def _point(self, version: str, *, by: By, reason: str) -> None:
        """Moves the pointer, last. A promotion of the champion itself changes nothing that a log should tell."""
        before = self.champion()
        if before != version:
            at = next_moment(read_promotions(path) for path in self._versions.glob("v*"))
            log_promotion(self._versions / version, {"at": at, "by": by, "before": before, "reason": reason})
        write_whole(self.folder / "champion", version + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time."""
        with writing(self.folder), FileLock(self.folder / ".lock", timeout=60):
            yield


def known_projects(model_dir: Path) -> Iterator[Registry]:
    """The registry of every project that spoke with a backend on this folder and was not disconnected, by project id."""
    try:
        ids = sorted(int(path.name) for path in (model_dir / "projects").iterdir() if _PROJECT.fullmatch(path.name))
    except FileNotFoundError:
        return
    for registry in (Registry(model_dir, project_id) for project_id in ids):
        if not registry.is_retired:
            yield registry


def _number(version: str) -> int:
    match = _VERSION.fullmatch(version)
    return int(match.group(1)) if match else 0
