"""How a project and the trainer stand, in small files: each process writes its part, and whoever asks reads each file once.

MODEL_DIR/next_round.json          the trainer: when the schedule's next round is (at), by what rule (schedule), and how many new
                                   judgements start one before (min_new_pairs)
MODEL_DIR/trainer.alive            the trainer (trainer_heartbeat.py)
<project folder>/filling.json      the filler: how far it is
<project folder>/waiting.json      the trainer: what it counted at its last look, and since when a round is running, if one is
<project folder>/last_round.json   whoever ran it: how the last round ended

Covered: files that are missing, damaged, of an earlier build, or that may not be read. What they do not say is None, or empty.
No version is looked at, so that a status takes a millisecond, however many versions there are.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from preference.atomic_files import write_whole
from preference.projects.folder import ProjectFolder, RequestKind, known_projects
from preference.projects.trainer_heartbeat import ALIVE_SECONDS, seconds_since_alive
from preference.projects.versions import Versions
from preference.tolerant import Count, Items, Known, Number, Text, Words

_T = TypeVar("_T")
_FILLING, _COUNTS, _LAST_ROUND, _NEXT_ROUND = "filling.json", "waiting.json", "last_round.json", "next_round.json"
_FRESH_SECONDS = 600.0  # a filler that is at work writes about once a batch


class _File(BaseModel):
    """What a file says; the names of its keys are the fields' aliases."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What the file says; nothing, if there is none, or it is damaged.

        Raises:
            OSError: it may not be read.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
        except (FileNotFoundError, ValueError, RecursionError):
            content = None
        return cls.model_validate(content if isinstance(content, dict) else {})


class Filling(_File):
    """How far the filler is."""

    tasks_left: Known[Count] = None
    tasks_answered: Known[Count] = None
    tasks_failed: Items[Count] = Field(default_factory=dict)  # by reason
    answers_per_second: Known[Number] = None
    tokens_per_second: Known[Number] = None
    seconds_left: Known[Number] = None
    is_filling: Known[bool] = None
    at: Known[Number] = None  # seconds since the epoch
    pass_number: Known[Count] = Field(None, alias="pass")  # passes over a project are counted


class ProjectCounts(_File):
    """What the trainer counted when it last looked at the project."""

    title: Words = ""
    num_new_judgements: Known[int] = Field(None, alias="judgements")  # since the last round
    num_tasks: Known[Count] = Field(None, alias="tasks")
    num_judged_tasks: Known[Count] = Field(None, alias="tasks_judged")
    num_judgements: Known[Count] = Field(None, alias="annotations")
    training_since: Known[Number] = None  # seconds since the epoch; None unless a round is running


class LastRound(_File):
    """How the last round ended."""

    outcome: Words = ""
    reason: Words = ""
    version: Known[Text] = None
    seconds: Known[Number] = None
    at: Known[Number] = None  # seconds since the epoch


class _NextRound(_File):
    at: Known[Number] = None
    schedule: Words = ""
    min_new_pairs: Known[Count] = None


@dataclass(frozen=True)
class TrainerStatus:
    """Whether a trainer is running, and what it goes by; the latter is not known unless one is."""

    is_running: bool = False
    silent_seconds: float | None = None  # since one last marked itself as alive
    schedule: str = ""
    next_round_at: float | None = None  # by the schedule, in seconds since the epoch
    num_needed: int | None = None  # new judgements that start a round by themselves


@dataclass(frozen=True)
class ProjectStatus:
    """How one project stands at a moment, `now`, in seconds since the epoch."""

    folder: ProjectFolder
    trainer: TrainerStatus
    now: float
    champion: str | None  # the version that the pointer names, which may be deleted
    filling: Filling
    counts: ProjectCounts
    last_round: LastRound
    requests: tuple[RequestKind, ...]  # of a round or of a pass of the filler, not taken yet
    is_unfinished: bool  # whether a round began and has not ended: it runs, or was killed
    problems: tuple[str, ...]  # what of the project's folder cannot be read, or cannot be as it is
    versions: tuple[str, ...] = ()  # their names, oldest first; empty before `with_versions`

    @property
    def project_id(self) -> int:
        """The project's id in Label Studio."""
        return self.folder.project_id

    @property
    def name(self) -> str:
        """The project's title, or its number."""
        return self.counts.title.strip()[:80] or f"Project {self.project_id}"

    @property
    def num_unfilled(self) -> int | None:
        """Tasks that lack an answer."""
        remaining = self.filling.tasks_left
        return None if remaining is None else remaining + sum(self.filling.tasks_failed.values())

    @property
    def num_open(self) -> int | None:
        """Tasks that have their answers and wait for people."""
        counts, unfilled = self.counts, self.num_unfilled
        if counts.num_tasks is None or counts.num_judged_tasks is None or unfilled is None:
            return None
        return max(0, counts.num_tasks - counts.num_judged_tasks - unfilled)

    @property
    def num_new_judgements(self) -> int | None:
        """Judgements since the last round; 0 also if more were deleted than made."""
        counted = self.counts.num_new_judgements
        return None if counted is None else max(0, counted)

    @property
    def num_missing(self) -> int | None:
        """How many more judgements start a round by themselves."""
        if self.num_new_judgements is None or self.trainer.num_needed is None:
            return None
        return max(0, self.trainer.num_needed - self.num_new_judgements)

    @property
    def seconds_to_schedule(self) -> float | None:
        """Until the schedule's next round."""
        at = self.trainer.next_round_at
        return None if at is None else max(0.0, at - self.now)

    @property
    def training_since(self) -> datetime | None:
        """Since when a round is running, if one is."""
        return moment(self.counts.training_since) if self.trainer.is_running else None

    @property
    def is_filling(self) -> bool:
        """Whether answers are being written."""
        return bool(self.filling.is_filling) and self.now - (self.filling.at or 0) < _FRESH_SECONDS

    @property
    def sentences(self) -> list[str]:
        """The problems as sentences that name the project."""
        return [f"Project {self.project_id}: {problem}." for problem in self.problems]

    def with_versions(self) -> Self:
        """The same with the names of the versions, whose reading takes longer the more there are."""
        problems = list(self.problems)
        none: list[str] = []
        versions = _tried(problems, Versions(self.folder).all, none)
        if self.champion is not None and self.champion not in versions:
            problems.append(f"the champion {self.champion} is not among the versions; roll back, or promote another one")
        return replace(self, versions=tuple(versions), problems=tuple(problems))


@dataclass(frozen=True)
class Overview:
    """How all that a MODEL_DIR holds stands."""

    trainer: TrainerStatus
    projects: tuple[ProjectStatus, ...]  # the known ones, by id
    problems: tuple[str, ...]  # a sentence for each thing that cannot be read


def read_trainer_status(model_dir: Path, *, now: float | None = None) -> TrainerStatus:
    """How the trainer on MODEL_DIR stands."""
    silent = seconds_since_alive(model_dir, now=now)
    if silent is None or silent >= ALIVE_SECONDS:
        return TrainerStatus(silent_seconds=silent)
    next_round = _tried([], lambda: _NextRound.read(model_dir / _NEXT_ROUND), _NextRound())
    return TrainerStatus(True, silent, next_round.schedule, next_round.at, next_round.min_new_pairs)


def read_project_status(folder: ProjectFolder, trainer: TrainerStatus, *, now: float | None = None) -> ProjectStatus:
    """How one project stands."""
    problems: list[str] = []
    return ProjectStatus(
        folder,
        trainer,
        time.time() if now is None else now,
        champion=_tried(problems, Versions(folder).champion, None),
        filling=_tried(problems, lambda: Filling.read(folder.path / _FILLING), Filling()),
        counts=_tried(problems, lambda: ProjectCounts.read(folder.path / _COUNTS), ProjectCounts()),
        last_round=_tried(problems, lambda: LastRound.read(folder.path / _LAST_ROUND), LastRound()),
        requests=_tried(problems, lambda: _requests(folder), ()),
        is_unfinished=_tried(problems, (folder.path / "training" / "round.json").is_file, False),
        problems=tuple(problems),
    )


def read_overview(model_dir: Path, *, now: float | None = None) -> Overview:
    """How the trainer and every known project stand."""
    trainer = read_trainer_status(model_dir, now=now)
    try:
        projects = tuple(read_project_status(folder, trainer, now=now) for folder in known_projects(model_dir))
    except OSError as error:
        problem = f"MODEL_DIR={model_dir} cannot be read ({error.strerror}); mount it again, or fix its permissions."
        return Overview(trainer, (), (problem,))
    return Overview(trainer, projects, tuple(sentence for status in projects for sentence in status.sentences))


def read_project_counts(folder: ProjectFolder) -> ProjectCounts:
    """What the trainer counted at its last look.

    Raises:
        OSError: it may not be read.
    """
    return ProjectCounts.read(folder.path / _COUNTS)


def write_project_counts(folder: ProjectFolder, counts: ProjectCounts) -> None:
    """Keeps what the trainer counted at its last look.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(folder.path / _COUNTS, counts.model_dump(by_alias=True, exclude_none=True))


def write_last_round(folder: ProjectFolder, outcome: str, *, reason: str, version: str | None, seconds: float) -> None:
    """Keeps how a round ended, just now.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    ended = {"outcome": outcome, "reason": reason, "version": version, "seconds": round(seconds, 1), "at": round(time.time(), 1)}
    _write(folder.path / _LAST_ROUND, ended)


def write_next_round(model_dir: Path, at: float | None, *, schedule: str, min_new_pairs: int) -> None:
    """Keeps when the schedule's next round is, in seconds since the epoch.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(model_dir / _NEXT_ROUND, {"at": at, "schedule": schedule, "min_new_pairs": min_new_pairs})


def outcome_in_words(outcome: str) -> str:
    """A round's outcome as people read it; files and JSON keep the field's word, "rejected"."""
    return "kept back" if outcome == "rejected" else outcome


def moment(seconds: float | None) -> datetime | None:
    """A moment, from seconds since the epoch; None if they are no moment."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _requests(folder: ProjectFolder) -> tuple[RequestKind, ...]:
    return tuple(kind for kind in get_args(RequestKind) if kind != "look" and folder.is_requested(kind))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content), is_durable=False)


def _whole(digits: str) -> int | None:
    """The number; None if it is larger than any that is written, and perhaps than any float."""
    return int(digits) if len(digits) < 20 else None


def _tried(problems: list[str], read: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return read()
    except OSError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}); fix or remove it")
    return otherwise
