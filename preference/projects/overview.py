"""What the commands show of the trainer, of projects and of versions, read from MODEL_DIR alone.

Covered: files that are missing, damaged, of an earlier build, or may not be read. What they do not say is None, or empty.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder, RequestKind
from preference.projects.trainer_heartbeat import is_alive
from preference.projects.training_status import read_next_round, read_project, read_round
from preference.projects.versions import Versions
from preference.settings import Settings

_T = TypeVar("_T")


@dataclass(frozen=True)
class TrainerOverview:
    """Whether a trainer is running, and what it goes by."""

    is_running: bool
    model_dir: str
    schedule: str
    next_round_at: datetime | None  # by the schedule; None where no trainer keeps it
    num_needed: int  # new judgements that start a round by themselves


@dataclass(frozen=True)
class LastRound:
    """How a project's last round ended."""

    outcome: str
    reason: str
    version: str | None
    at: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class ProjectOverview:
    """How one project stands."""

    project: int
    title: str
    champion: str | None
    num_versions: int
    num_waiting: int | None  # judgements since the last round
    training_since: datetime | None  # where the trainer is in the middle of a round
    is_unfinished: bool  # whether a round began and has not ended: it runs, or was killed
    requests: tuple[RequestKind, ...]  # asked for, and not taken yet
    last_round: LastRound | None
    problem: str


@dataclass(frozen=True)
class VersionOverview:
    """One version, as its card tells of it."""

    project: int
    version: str
    is_champion: bool
    made_at: datetime | None
    recipe: str
    num_pairs: int | None
    accuracy: float | None
    interval: tuple[float, float] | None  # of 95 %
    verdict: str  # "promoted", "kept back", or "broken" where the card cannot be read
    reason: str
    promotions: tuple[dict[str, str | None], ...]  # at, by, before, reason


def read_trainer(settings: Settings) -> TrainerOverview:
    """How the trainer on MODEL_DIR stands; where none is running, what one with these settings would go by."""
    alive, told = is_alive(settings.model_dir), read_next_round(settings.model_dir)
    if not alive:
        told = {}
    return TrainerOverview(
        alive,
        str(settings.model_dir.absolute()),
        _text(told.get("schedule")) or settings.training.train_schedule,
        _moment(told.get("at")),
        _count(told.get("min_new_pairs"), settings.training.min_new_pairs),
    )


def read_projects(folders: list[ProjectFolder], trainer: TrainerOverview) -> list[ProjectOverview]:
    """How each project stands; one that cannot be read says why, and the others go on."""
    return [_project(folder, trainer) for folder in folders]


def read_versions(folder: ProjectFolder) -> Iterator[VersionOverview]:
    """Each version of a project, oldest first.

    Raises:
        OSError: the project's folder may not be read.
    """
    champion = Versions(folder).champion()
    for version in Versions(folder).all():
        is_champion = version == champion
        try:
            card = Versions(folder).card(version)
        except (RegistryError, RecursionError) as error:
            yield VersionOverview(folder.project_id, version, is_champion, None, "", None, None, None, "broken", str(error), ())
            continue
        metrics = card.metrics if isinstance(card.metrics, dict) else {}
        yield VersionOverview(
            folder.project_id,
            version,
            is_champion,
            _moment(card.created_at),
            _text(card.recipe),
            _count(card.num_train_pairs, None),
            _number(metrics.get("accuracy")),
            _interval(metrics.get("interval")),
            "promoted" if card.promoted is True else "kept back",
            _text(card.reason),
            tuple(
                {name: _text(entry.get(name)) or None for name in ("at", "by", "before", "reason")} for entry in card.promotions
            ),
        )


def _project(folder: ProjectFolder, trainer: TrainerOverview) -> ProjectOverview:
    told, ended = read_project(folder), read_round(folder)
    champion, versions, requests, problem = None, list[str](), tuple[RequestKind, ...](), ""
    is_unfinished = False
    try:
        champion, versions = Versions(folder).champion(), Versions(folder).all()
        requests = tuple(kind for kind in get_args(RequestKind) if kind != "look" and folder.is_requested(kind))
        is_unfinished = (folder.path / "training" / "round.json").is_file()
        if champion is not None and champion not in versions:
            problem = f"the champion {champion} is not among the versions; roll back, or promote another one"
        if folder.is_disconnected:
            problem = f"it is disconnected; pairloop-backend connect --project {folder.project_id} connects it again"
    except OSError as error:
        problem = f"{error.filename} cannot be read ({error.strerror}); mend that"
    waiting = _number(told.get("judgements"))  # below 0 where more were deleted than came
    return ProjectOverview(
        folder.project_id,
        _text(told.get("title")),
        champion,
        len(versions),
        None if waiting is None else max(0, int(waiting)),
        _moment(told.get("training_since")) if trainer.is_running else None,
        is_unfinished,
        requests,
        _last_round(ended),
        problem,
    )


def _last_round(ended: dict[str, Any]) -> LastRound | None:
    if not (outcome := _text(ended.get("outcome"))):
        return None
    version, seconds = _text(ended.get("version")), _number(ended.get("seconds"))
    return LastRound(outcome, _text(ended.get("reason")), version or None, _moment(ended.get("at")), seconds)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    try:
        return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
    except OverflowError:  # a whole number that is larger than any float
        return None


def _count(value: Any, otherwise: _T) -> int | _T:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _interval(value: Any) -> tuple[float, float] | None:
    ends = [_number(end) for end in value] if isinstance(value, list | tuple) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def _moment(value: Any) -> datetime | None:
    """A moment, from seconds since the epoch or from ISO 8601."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return None if _number(value) is None else datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
