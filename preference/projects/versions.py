"""The trained versions of one project's reward model, in its folder.

    versions/<version>/   immutable: weights, tokenizer, README.md, and card.json, whose presence makes it a version;
                          beside them promotions.jsonl, which grows (promotions.py)
    champion              one line: the served version (os.replace, always last)

Covered: a reader never sees half a version or half a pointer; two publishers never share a version name; a person who promotes or
rolls back while a version is judged or copied; a kill at any time; a disk that is full or read-only; a clock that is set back.
Not covered: storage without atomic rename.
"""

import dataclasses
import logging
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:  # a card has many parts, which take longer to import than a command such as `connect` has
    from preference.report_card.card import ReportCard

logger = logging.getLogger("pairloop.projects")
UNTRAINED = "pairloop-untrained"  # what every place shows as the version while there is none
_LOCK_SECONDS = 600.0  # a copy of gigabytes, to a disk that is far away
_VERSION = re.compile(r"v(\d+)-\d{8}-\d{6}")


class Versions:
    """One project's versions, and which of them is the champion. Safe for any number of processes."""

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder
        self._path = folder.path / "versions"

    def all(self) -> list[str]:
        """Published versions, oldest first."""
        try:
            names = [path.name for path in self._path.iterdir() if _VERSION.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        return sorted((name for name in names if (self._path / name / "card.json").is_file()), key=_number)

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
        if not _VERSION.fullmatch(version) or not (self._path / version / "card.json").is_file():
            raise RegistryError(
                f"Project {self.folder.project_id} has no version {version!r}; it has: {', '.join(self.all()) or 'none'}."
            )
        return self._path / version

    def card(self, version: str, *, promotions: Promotions | None = None) -> "ReportCard":
        """The card of a version, with its promotions so far, which are read unless they are given."""
        from preference.report_card.card import ReportCard

        published = self.path(version)
        promotions = read_promotions(published) if promotions is None else promotions
        return ReportCard.read(published / "card.json", project_id=self.folder.project_id, version=version, promotions=promotions)

    def promotions(self) -> dict[str, Promotions]:
        """The promotions of each version so far, by its name."""
        return {path.name: read_promotions(path) for path in self._path.glob("v*")}

    def cards(self, *, logs_damaged: bool = True) -> Iterator["ReportCard"]:
        """The cards of all versions, latest first, without damaged ones: those are logged."""
        for version in reversed(self.all()):
            try:
                yield self.card(version)
            except RegistryError as error:
                if logs_damaged:
                    logger.warning("project %d: %s", self.folder.project_id, error)

    def publish(
        self, draft: Path, card: "ReportCard", *, judged_against: str | EllipsisType | None = ..., promote: bool = False
    ) -> str:  # fmt: skip
        """The new version's name, after a copy of `draft` with the completed card is there whole, and is the champion if it is to be.

        `judged_against`: the champion at that time, None if there was none, `...` if any will do. `promote`: in the same step, so
        that nobody decides in between, and that no version stays that was to be promoted and could not. The copy keeps nobody
        waiting but another publisher.

        Raises:
            ChampionChanged: the champion is another than `judged_against`; nothing of the version remains.
            RegistryError: MODEL_DIR is full or not writable, or `draft` cannot be read; nothing of the version remains.
        """
        self.folder.create()
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
                    version = self._take_number(temporary, card)
                    if promote:
                        self._point_or_remove(version, reason=card.reason)
                    return version
            except OSError as error:
                # copytree gathers what went wrong into one error: (source, target, why) of each file.
                reason = error.strerror or (error.args[0][0][2] if isinstance(error, shutil.Error) else str(error))
                raise RegistryError(
                    f"A new version cannot be written to {self._path} ({reason}); free some space, or fix what that names. The champion stays."
                ) from error

    def _take_number(self, copied: Path, card: "ReportCard") -> str:
        """The name under which a copied folder is now a version."""
        now = datetime.now(UTC)
        # The champion may have been deleted while it is served: the next one must not have its name.
        number = max(_number(name) for name in (self.champion() or "", *(path.name for path in self._path.iterdir()))) + 1
        version = f"v{number}-{now:%Y%m%d-%H%M%S}"
        card = dataclasses.replace(card, version=version, created_at=now.isoformat(timespec="seconds"))
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

    # The champion

    def champion(self) -> str | None:
        """The promoted version as the pointer names it (it may be broken or deleted), or None before the first.

        A damaged pointer names no version that there is, whatever its bytes are.
        """
        try:
            return (self.folder.path / "champion").read_text(encoding="utf-8", errors="backslashreplace").strip() or None
        except FileNotFoundError:
            return None

    @property
    def has_no_pointer(self) -> bool:
        """Whether there is none, or none any more; False if all of MODEL_DIR is away, which may come back."""
        return not (self.folder.path / "champion").exists() and self.folder.path.parent.is_dir()

    def promote(self, version: str, *, by: By = "judge", reason: str = "") -> None:
        """Makes `version` the champion, and logs that in its folder.

        Raises:
            RegistryError: there is no such version, or MODEL_DIR is full or not writable; the champion stays.
        """
        self.path(version)
        with self.folder.locked():
            self._point(version, by=by, reason=reason)

    def rollback(self, *, reason: str = "", seen: str | EllipsisType | None = ...) -> str:
        """The version that was champion before the present one, and is it again; a second rollback goes further back.

        `seen`: the champion that whoever decided this saw, `...` if any will do.

        Raises:
            ChampionChanged: the champion is another than `seen`, and stays.
            RegistryError: there is none, or it was deleted, or MODEL_DIR is full or not writable.
        """
        if self.champion() is None:
            raise RegistryError(f"Project {self.folder.project_id} has no champion yet, so there is nothing to roll back.")
        with self.folder.locked():
            self._check_champion(seen)
            before = self.champion_before()
            if before is None:
                known = ", ".join(self.all()) or "none"
                raise RegistryError(
                    f"Project {self.folder.project_id} has no champion before {self.champion()} in its log; promote one of: {known}."
                )
            self.path(before)
            self._point(before, by="rollback", reason=reason)
        return before

    def champion_before(self) -> str | None:
        """The version that a rollback would serve, which may be deleted; None if the log knows of none."""
        return next(reversed(champions_before(self.champion(), self.promotions())), None)

    def _check_champion(self, seen: str | EllipsisType | None) -> None:
        champion = self.champion()
        if seen is not ... and champion != seen:
            raise ChampionChanged(
                f"The champion of project {self.folder.project_id} is {champion or 'none'} now, and was {seen or 'none'}."
            )

    def _point(self, version: str, *, by: By, reason: str) -> None:
        """Moves the pointer, last. A promotion of the champion itself is no event for the log."""
        before = self.champion()
        if before != version:
            at = next_moment(self.promotions().values())
            log_promotion(self._path / version, {"at": at, "by": by, "before": before, "reason": reason})
        write_whole(self.folder.path / "champion", version + "\n")


def _number(version: str) -> int:
    match = _VERSION.fullmatch(version)
    return int(match.group(1)) if match else 0
