"""How a project and the trainer stand: read once a request, for commands, the dashboard, /health and /metrics.

Covered: files that are missing, damaged, of an earlier build, or that may not be read. What they do not say is None, or empty.
No version is looked at, so that a status takes a millisecond, however many versions there are.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar, get_args

from preference.errors import RegistryError
from preference.file_locks import is_held
from preference.projects.folder import ProjectFolder, RequestKind, known_projects
from preference.projects.guidelines import Guidelines
from preference.projects.problems import read_problems
from preference.projects.status_files import Filling, LastAlignment, LastRound, NextRound, OpenRepeats, ProjectCounts
from preference.projects.trainer_heartbeat import ALIVE_SECONDS, seconds_since_alive
from preference.projects.versions import Versions
from preference.report_card.certificate import Standing, read_standing

_T = TypeVar("_T")
_FRESH_SECONDS = 600.0  # a filler that is at work writes about once a batch; an older file is of a pass that was killed


@dataclass(frozen=True)
class TrainerStatus:
    """Whether a trainer is running, and what decides when it trains. Of one that ended, only `num_needed` is known."""

    is_running: bool = False
    silent_seconds: float | None = None  # since one last marked itself as alive
    schedule: str = ""
    next_round_at: float | None = None  # by the schedule, in seconds since the epoch
    num_needed: int | None = None  # new judgements that start a round by themselves
    align_schedule: str = ""  # of alignments; empty if they have none
    next_alignment_at: float | None = None  # by it, in seconds since the epoch


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
    last_alignment: LastRound
    requests: tuple[RequestKind, ...]  # of a round, an alignment or a pass of the filler, not taken yet
    is_training: bool  # whether some process is in the middle of a round
    is_aligning: bool  # the same of an alignment
    is_measuring: bool  # whether best-of-n is at its generator, from which nothing learns
    is_filling: bool  # whether answers are being written
    is_unfinished: bool  # whether a round began and has not ended: it runs, or was killed
    is_alignment_unfinished: bool  # the same of an alignment
    problems: tuple[str, ...]  # what of the project's folder cannot be read, or cannot be as it is, and what the processes noted
    versions: tuple[str, ...] = ()  # their names, oldest first; empty before `with_versions`
    certified: Standing | None = None  # what blind judgements certify; None if nobody asked, and before `with_versions`
    num_repeats: int = 0  # copies of judged tasks that wait to be judged again
    guidelines: str = ""  # which version of them stands, in words; empty if there is none, and before `with_versions`

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
        """Tasks that have their answers and wait for people, without repeats."""
        counts, unfilled = self.counts, self.num_unfilled
        if counts.num_tasks is None or counts.num_judged_tasks is None or unfilled is None:
            return None
        return max(0, counts.num_tasks - counts.num_judged_tasks - unfilled - self.num_repeats)

    @property
    def num_new_judgements(self) -> int | None:
        """Judgements since the last round; 0 also if more were deleted than made."""
        counted = self.counts.num_new_judgements
        return None if counted is None else max(0, counted)

    @property
    def num_missing(self) -> int | None:
        """How many more judgements start a round by themselves; None before the first, which waits for what `counts.missing` says."""
        if self.counts.missing or self.num_new_judgements is None or self.trainer.num_needed is None:
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
    def interrupted(self) -> list[str]:
        """What was killed before it ended, a round or an alignment; the next one takes it up."""
        is_about_to_begin = self.training_since is not None  # its process starts, and has no lock yet
        return [
            *(["round"] if self.is_unfinished and not self.is_training and not is_about_to_begin else []),
            *(["alignment"] if self.is_alignment_unfinished and not self.is_aligning else []),
        ]

    @property
    def sentences(self) -> list[str]:
        """The problems as sentences that name the project."""
        return [f"Project {self.project_id}: {problem}." for problem in self.problems]

    def with_versions(self) -> Self:
        """The same with what takes longer to read: the names of the versions, and the version of the guidelines that stands."""
        problems = list(self.problems)
        none: list[str] = []
        versions = _tried(problems, Versions(self.folder).all, none)
        if self.champion is not None and self.champion not in versions:
            problems.append(f"the champion {self.champion} is not among the versions; roll back, or promote another one")
        try:
            known = Guidelines.read(self.folder)
        except RegistryError as error:
            known = Guidelines()
            problems.append(str(error))
        guidelines = known.in_words(known.latest.version)
        certified = _tried(problems, lambda: read_standing(self.folder.path, self.champion, now=self.now), None)
        problems = list(_named(self.folder, problems))
        return replace(self, versions=tuple(versions), certified=certified, guidelines=guidelines, problems=tuple(problems))


@dataclass(frozen=True)
class Overview:
    """How the trainer and all projects of a MODEL_DIR stand."""

    trainer: TrainerStatus
    projects: tuple[ProjectStatus, ...]  # the known ones, by id
    problems: tuple[str, ...]  # a sentence for each thing that cannot be read


def read_trainer_status(model_dir: Path, *, now: float | None = None) -> TrainerStatus:
    """How the trainer on MODEL_DIR stands."""
    silent = seconds_since_alive(model_dir, now=now)
    next_round = _tried([], lambda: NextRound.read(model_dir), NextRound())
    if silent is None or silent >= ALIVE_SECONDS:
        return TrainerStatus(silent_seconds=silent, num_needed=next_round.min_new_pairs)
    return TrainerStatus(
        True,
        silent,
        next_round.schedule,
        next_round.at,
        next_round.min_new_pairs,
        align_schedule=next_round.align_schedule,
        next_alignment_at=next_round.align_at,
    )


def read_project_status(
    folder: ProjectFolder, trainer: TrainerStatus, *, noted: Sequence[str] = (), now: float | None = None
) -> ProjectStatus:
    """How one project stands. `noted`: what read_problems has of it."""
    problems: list[str] = []
    now = time.time() if now is None else now
    champion = _tried(problems, Versions(folder).champion, None)
    filling = _tried(problems, lambda: Filling.read(folder.path), Filling())
    is_measuring = _tried(problems, lambda: is_held(folder.path / "best_of_n.lock"), False)
    is_said = bool(filling.is_filling) and now - (filling.at or 0) < _FRESH_SECONDS
    return ProjectStatus(
        folder,
        trainer,
        now,
        champion=champion,
        filling=filling,
        counts=_tried(problems, lambda: ProjectCounts.read(folder.path), ProjectCounts()),
        num_repeats=_tried(problems, lambda: len(OpenRepeats.read(folder.path).open), 0),
        last_round=_tried(problems, lambda: LastRound.read(folder.path), LastRound()),
        last_alignment=_tried(problems, lambda: LastAlignment.read(folder.path), LastAlignment()),
        requests=_tried(problems, lambda: _requests(folder), ()),
        # The locks first: what ends meanwhile would else look as if it had been killed.
        is_training=_tried(problems, lambda: is_held(folder.path / "round.lock"), False),
        is_aligning=not is_measuring and _tried(problems, lambda: is_held(folder.path / "align.lock"), False),
        is_measuring=is_measuring,
        is_filling=is_said and _tried(problems, lambda: is_held(folder.model_dir / "filler.lock"), False),
        is_unfinished=_tried(problems, (folder.path / "training" / "round.json").is_file, False),
        is_alignment_unfinished=_tried(problems, (folder.path / "aligning" / "alignment.json").is_file, False),
        problems=_named(folder, [*problems, *(problem.rstrip(".") for problem in noted)]),
    )


def read_overview(model_dir: Path, *, now: float | None = None) -> Overview:
    """How the trainer and every known project stand."""
    trainer, noted = read_trainer_status(model_dir, now=now), read_problems(model_dir)
    try:
        projects = tuple(
            read_project_status(folder, trainer, noted=noted.get(folder.project_id, ()), now=now)
            for folder in known_projects(model_dir)
        )
    except OSError as error:
        problem = f"MODEL_DIR={model_dir} cannot be read ({error.strerror}); mount it again, or fix its permissions."
        return Overview(trainer, (), (problem,))
    return Overview(trainer, projects, tuple(sentence for status in projects for sentence in status.sentences))


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


def _named(folder: ProjectFolder, problems: Sequence[str]) -> tuple[str, ...]:
    """Each problem once; the first alone if the folder is none or may not be looked into, which spoils all its files."""
    can_be_searched = os.access(folder.path, os.X_OK) and folder.path.is_dir()
    return tuple(dict.fromkeys(problems if can_be_searched else problems[:1]))


def _tried(problems: list[str], read: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return read()
    except OSError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}); fix or remove it")
    return otherwise
