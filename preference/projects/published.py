"""What is published in a project's folder, version after version, and which of them is served: reward models and generators alike.

    <room>/<version>/   immutable: weights, and card.json, whose presence makes it a version; beside them promotions.jsonl, which
                        grows (promotions.py). Of an old version the weights may be removed (pruning.py)
    <pointer>           one line: the served version (os.replace, always last)

Covered: a reader never sees half a version or half a pointer; two publishers never share a version name; a person who promotes or
rolls back while a version is judged or copied; a kill at any time; a disk that is full or read-only; a clock that is set back.
Not covered: storage without atomic rename.
"""

import logging
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from filelock import FileLock

from preference.atomic_files import sync, sync_all, unfinished_folder, write_whole, writing
from preference.errors import ChampionChanged, RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.promotions import (
    PROMOTIONS,
    By,
    Promotions,
    champions_before,
    log_promotion,
    next_moment,
    read_promotions,
)
from preference.projects.pruning import holds_weights, is_pruned, prune

logger = logging.getLogger("pairloop.projects")
_LOCK_SECONDS = 600.0  # a copy of gigabytes, to a disk that is far away
_VERSION = re.compile(r"[a-z](\d+)-\d{8}-\d{6}")


class Card(Protocol):
    """What is known of a version: a frozen dataclass, with `version` and `created_at` among its fields."""

    @property
    def reason(self) -> str:
        """Why it was promoted, or not."""
        ...

    def to_json(self) -> str:
        """What its file holds."""
        ...

    def published(self, *, version: str, created_at: str) -> Self:
        """A copy that names these."""
        ...


_Card = TypeVar("_Card", bound=Card)


class Published(ABC, Generic[_Card]):
    """One project's versions of one kind, and which of them is served. Safe for any number of processes."""

    room: ClassVar[str]  # the folder that holds them
    pointer: ClassVar[str]  # the file that names the served one
    letter: ClassVar[str]  # which their names begin with
    noun: ClassVar[str]  # what one is called
    title: ClassVar[str]  # what the served one is called
    taken_up: ClassVar[str]  # what follows from a promotion, as half a sentence
    # What is served before any is promoted, and may be promoted like one; None if nothing is.
    origin: ClassVar[str | None] = None

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder
        self._path = folder.path / self.room

    @abstractmethod
    def _read_card(self, path: Path, *, version: str, promotions: Promotions) -> _Card: ...

    def all(self) -> list[str]:
        """Published versions, oldest first."""
        try:
            names = [path.name for path in self._path.iterdir() if self._is_name(path.name)]
        except FileNotFoundError:
            return []
        return sorted((name for name in names if (self._path / name / "card.json").is_file()), key=_number)

    def promotable(self) -> list[str]:
        """Those whose weights are there, oldest first."""
        return [version for version in self.all() if not is_pruned(self._path / version)]

    def find(self, name: str) -> str:
        """The version that a name means: its own, or "v3" for the one of that number.

        Raises:
            RegistryError: there is no such version.
        """
        version = next((known for known in self.all() if known.split("-")[0] == name), name)
        self.path(version)
        return version

    def path(self, version: str) -> Path:
        """The folder of a version.

        Raises:
            RegistryError: there is no such version.
        """
        if not self._is_name(version) or not (self._path / version / "card.json").is_file():
            raise RegistryError(
                f"Project {self.folder.project_id} has no {self.noun} {version!r}; it has: {', '.join(self.all()) or 'none'}."
            )
        return self._path / version

    def weights(self, version: str) -> Path:
        """The folder of a version whose weights are there.

        Raises:
            RegistryError: there is no such version, or KEEP_VERSIONS kept its card alone.
        """
        path = self.path(version)
        if is_pruned(path):
            raise RegistryError(
                f"The weights of {version} of project {self.folder.project_id} were removed under KEEP_VERSIONS; "
                f"promote one of: {', '.join(self.promotable()) or 'none'}."
            )
        return path

    def card(self, version: str, *, promotions: Promotions | None = None) -> _Card:
        """The card of a version, with its promotions so far, which are read unless they are given."""
        published = self.path(version)
        promotions = read_promotions(published) if promotions is None else promotions
        return self._read_card(published / "card.json", version=version, promotions=promotions)

    def promotions(self) -> dict[str, Promotions]:
        """The promotions of each version so far, by its name."""
        return {path.name: read_promotions(path) for path in self._path.glob("*") if not path.name.startswith(".")}

    def cards(self, *, logs_damaged: bool = True) -> Iterator[_Card]:
        """The cards of all versions, latest first, without damaged ones: those are logged."""
        for version in reversed(self.all()):
            try:
                yield self.card(version)
            except RegistryError as error:
                if logs_damaged:
                    logger.warning("project %d: %s", self.folder.project_id, error)

    def publish(
        self, draft: Path, card: _Card, *, judged_against: str | EllipsisType | None = ..., promote: bool = False, first: int = 1,
        keep: int | None = None,
    ) -> str:  # fmt: skip
        """The new version's name, after a copy of `draft` with the completed card is there whole, and is the champion if it is to be.

        `judged_against`: the champion at that time, None if there was none, `...` if any will do. `promote`: in the same step, so
        that nobody decides in between, and that no version stays that was to be promoted and could not. The copy keeps nobody
        waiting but another publisher. `first`: its number, if no version was ever published here. `keep`: how many of the latest
        versions keep their weights, None is all; those that are served, or that rollbacks lead to, keep them, too.

        Raises:
            ChampionChanged: the champion is another than `judged_against`; nothing of the version remains.
            RegistryError: MODEL_DIR is full or not writable, or `draft` cannot be read; nothing of the version remains.
        """
        self.folder.create()
        with writing(self._path):
            self._path.mkdir(exist_ok=True)
        with (
            writing(self.folder.path),
            FileLock(self.folder.path / "publish.lock", timeout=_LOCK_SECONDS),
            unfinished_folder(self._path) as temporary,
        ):
            try:
                shutil.copytree(draft, temporary, ignore=shutil.ignore_patterns(PROMOTIONS))
                temporary.chmod(self._path.stat().st_mode)  # a round's scratch folder is its user's alone (0700)
                sync_all(temporary)
                with self.folder.locked():
                    self._check_champion(judged_against)
                    version = self._take_number(temporary, card, first=first)
                    if promote:
                        self._point_or_remove(version, reason=card.reason)
                    if keep is not None:
                        self._prune(keep)
                    return version
            except OSError as error:
                # copytree gathers what went wrong into one error: (source, target, why) of each file.
                reason = error.strerror or (error.args[0][0][2] if isinstance(error, shutil.Error) else str(error))
                raise RegistryError(
                    f"A new {self.noun} cannot be written to {self._path} ({reason}); free some space, or fix what that names. "
                    f"The {self.title} stays."
                ) from error

    def _take_number(self, copied: Path, card: _Card, *, first: int) -> str:
        """The name under which a copied folder is now a version."""
        now = datetime.now(UTC)
        # The champion may have been deleted while it is served: the next one must not have its name.
        names = (self.champion() or "", *(path.name for path in self._path.iterdir()))
        number = max((_number(name) for name in names if self._is_name(name)), default=first - 1) + 1
        version = f"{self.letter}{number}-{now:%Y%m%d-%H%M%S}"
        card = card.published(version=version, created_at=now.isoformat(timespec="seconds"))
        write_whole(copied / "card.json", card.to_json())
        copied.rename(self._path / version)
        sync(self._path)
        return version

    def _point_or_remove(self, version: str, *, reason: str) -> None:
        try:
            self._point(version, by="judge", reason=reason)
        except OSError:
            shutil.rmtree(self._path / version, ignore_errors=True)
            raise

    def _prune(self, keep: int) -> None:
        """Under the project's lock: so nobody promotes meanwhile what is removed."""
        served, promotions, versions = self.champion(), self.promotions(), self.all()
        # Without a pointer, which somebody deleted or emptied, nobody knows where a rollback leads.
        is_unknown = self._pointed() is None
        reachable = [name for name, log in promotions.items() if log] if is_unknown else champions_before(served, promotions)
        old = [
            version for version in versions[:-keep] if version not in (served, *reachable) and holds_weights(self._path / version)
        ]
        new = [version for version in old if not is_pruned(self._path / version)]
        try:
            for version in old:  # one that was begun, too
                prune(self._path / version)
        except OSError as error:  # what was published stands
            logger.warning("project %d: old weights cannot be removed (%s)", self.folder.project_id, error)
            return
        if new:
            logger.info(
                "project %d: the weights of %s were removed (KEEP_VERSIONS=%d)", self.folder.project_id, ", ".join(new), keep
            )

    # The served one

    def champion(self) -> str | None:
        """The promoted version as the pointer names it (it may be broken or deleted), or the origin before the first.

        A damaged pointer names no version that there is, whatever its bytes are.
        """
        return self._pointed() or self.origin

    @property
    def has_no_pointer(self) -> bool:
        """Whether there is none, or none any more; False if all of MODEL_DIR is away, which may come back."""
        return not (self.folder.path / self.pointer).exists() and self.folder.path.parent.is_dir()

    def promote(self, version: str, *, by: By = "judge", reason: str = "", seen: str | EllipsisType | None = ...) -> None:
        """Makes `version` the served one, and logs that in its folder.

        `seen`: the served one that whoever decided this saw, `...` if any will do.

        Raises:
            ChampionChanged: the served one is another than `seen`, and stays.
            RegistryError: there is no such version, its weights were removed, or MODEL_DIR is full or not writable; the served one
                stays.
        """
        self._check_is_there(version)
        with self.folder.locked():
            self._check_is_there(version)  # still
            self._check_champion(seen)
            self._point(version, by=by, reason=reason)

    def rollback(self, *, reason: str = "", seen: str | EllipsisType | None = ...) -> str:
        """The version that was served before the present one, and is it again; a second rollback goes further back.

        `seen`: the served one that whoever decided this saw, `...` if any will do.

        Raises:
            ChampionChanged: the served one is another than `seen`, and stays.
            RegistryError: there is none, or it was deleted, or MODEL_DIR is full or not writable.
        """
        if self.champion() is None:
            raise RegistryError(f"Project {self.folder.project_id} has no {self.title} yet, so there is nothing to roll back.")
        with self.folder.locked():
            self._check_champion(seen)
            before = self.champion_before()
            if before is None:
                raise RegistryError(
                    f"Project {self.folder.project_id} has no {self.title} before {self.champion()} in its log; "
                    f"promote one of: {', '.join(self.promotable()) or 'none'}."
                )
            self._check_is_there(before)
            self._point(before, by="rollback", reason=reason)
        return before

    def champion_before(self) -> str | None:
        """The version that a rollback would serve, which may be deleted; None if the log knows of none."""
        return next(reversed(champions_before(self.champion(), self.promotions())), None)

    def _pointed(self) -> str | None:
        """What the pointer names; None if it names nothing, or is not there."""
        try:
            text = (self.folder.path / self.pointer).read_text(encoding="utf-8", errors="backslashreplace")
        except FileNotFoundError:
            return None
        return text.strip() or None

    def _check_champion(self, seen: str | EllipsisType | None) -> None:
        champion = self.champion()
        if seen is not ... and champion != seen:
            raise ChampionChanged(
                f"The {self.title} of project {self.folder.project_id} is {champion or 'none'} now, and was {seen or 'none'}."
            )

    def _point(self, version: str, *, by: By, reason: str) -> None:
        """Moves the pointer, last. A promotion of the served one itself is no event for the log."""
        before = self.champion()
        if before != version:
            if version == self.origin:  # whose folder holds nothing but its log
                (self._path / version).mkdir(parents=True, exist_ok=True)
            at = next_moment(self.promotions().values())
            log_promotion(self._path / version, {"at": at, "by": by, "before": before, "reason": reason})
        write_whole(self.folder.path / self.pointer, version + "\n")

    def _check_is_there(self, version: str) -> None:
        if version != self.origin:
            self.weights(version)

    def _is_name(self, text: str) -> bool:
        return text.startswith(self.letter) and _VERSION.fullmatch(text) is not None


def _number(version: str) -> int:
    match = _VERSION.fullmatch(version)
    return int(match.group(1)) if match else 0
