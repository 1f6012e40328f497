"""How a project's loop goes round, from the small files in MODEL_DIR: what waits for answers, for people, for a round.

Covered: files that are missing, damaged or of another version; what they do not say is None.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from backend.dashboard.report_card import Count, Items, Known, Number, Text
from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import is_alive
from preference.projects.training_status import read_next_round, read_project, read_round

_FRESH_SECONDS = 600.0  # a filler that is at it tells about once a batch


class Filling(BaseModel):
    """How far the filler is."""

    tasks_left: Known[Count] = None
    tasks_answered: Known[Count] = None
    tasks_failed: Items[Count] = {}
    answers_per_second: Known[Number] = None
    tokens_per_second: Known[Number] = None
    seconds_left: Known[Number] = None
    is_filling: Known[bool] = None
    at: Known[Number] = None


class Told(BaseModel):
    """What the trainer told of the project."""

    title: Known[Text] = None
    judgements: Known[int] = None  # since the last round; below 0 where more were deleted than came
    tasks: Known[Count] = None
    tasks_judged: Known[Count] = None
    annotations: Known[Count] = None
    training_since: Known[Number] = None


class NextRound(BaseModel):
    """When the trainer's schedule has its next round."""

    at: Known[Number] = None
    schedule: Known[Text] = None
    min_new_pairs: Known[Count] = None


class LastRound(BaseModel):
    """How the last round ended."""

    outcome: Known[Text] = None
    reason: Known[Text] = None
    version: Known[Text] = None
    seconds: Known[Number] = None
    at: Known[Number] = None


@dataclass(frozen=True)
class Loop:
    """One project's loop at one moment, `now`, in seconds since the epoch."""

    filling: Filling
    told: Told
    next_round: NextRound
    last_round: LastRound
    is_trainer_up: bool
    is_asked_for: bool  # whether a round was asked for and has not begun
    now: float

    @property
    def unfilled(self) -> int | None:
        """Tasks that lack an answer."""
        left = self.filling.tasks_left
        return None if left is None else left + sum(self.filling.tasks_failed.values())

    @property
    def open(self) -> int | None:
        """Tasks that have their answers and wait for people."""
        if self.told.tasks is None or self.told.tasks_judged is None or self.unfilled is None:
            return None
        return max(0, self.told.tasks - self.told.tasks_judged - self.unfilled)

    @property
    def new(self) -> int | None:
        """Judgements since the last round."""
        return None if self.told.judgements is None else max(0, self.told.judgements)

    @property
    def missing(self) -> int | None:
        """How many more judgements start a round by themselves."""
        if self.new is None or self.next_round.min_new_pairs is None:
            return None
        return max(0, self.next_round.min_new_pairs - self.new)

    @property
    def seconds_to_schedule(self) -> float | None:
        """Until the schedule's next round, where a trainer keeps it."""
        at = self.next_round.at
        return None if at is None or not self.is_trainer_up else max(0.0, at - self.now)

    @property
    def is_training(self) -> bool:
        """Whether a round is running."""
        return self.is_trainer_up and self.told.training_since is not None

    @property
    def is_filling(self) -> bool:
        """Whether answers are being written."""
        return bool(self.filling.is_filling) and self.now - (self.filling.at or 0) < _FRESH_SECONDS


def read_loop(folder: ProjectFolder, model_dir: Path, *, filling: dict[str, Any], now: float | None = None) -> Loop:
    """The loop of one project; `filling` is what filling.json holds."""
    now = time.time() if now is None else now
    return Loop(
        Filling.model_validate(filling),
        Told.model_validate(read_project(folder)),
        NextRound.model_validate(read_next_round(model_dir)),
        LastRound.model_validate(read_round(folder)),
        is_trainer_up=is_alive(model_dir, now=now),
        is_asked_for=_is_asked_for(folder),
        now=now,
    )


def _is_asked_for(folder: ProjectFolder) -> bool:
    try:
        return folder.is_requested("train")
    except OSError:  # its folder may not be looked into
        return False
