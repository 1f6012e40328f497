"""The small files by which the two processes let each other know how a project stands: each writes its part.

MODEL_DIR/next_round.json          the trainer: when the schedule's next round is (at), by what rule (schedule), and how many new
                                   judgements start one before (min_new_pairs); the same of alignments, if they have a schedule
MODEL_DIR/trainer.alive            the trainer (trainer_heartbeat.py)
<project folder>/filling.json      the filler: how far it is
<project folder>/repeats.json      the filler: which tasks are repeats that wait, and how far it looked for what is to come back
<project folder>/waiting.json      the trainer: what it counted at its last look, and since when a round is running, if one is
<project folder>/last_round.json   whoever ran it: how the last round ended
<project folder>/last_alignment.json   the same of the last alignment

Covered: files that are missing, damaged, or of an earlier build. What they do not say is None, or empty.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from preference.atomic_files import write_whole, writing
from preference.projects.folder import ProjectFolder
from preference.tolerant import Count, Items, Known, Number, Rows, Text, Words

_Balance = Annotated[int, Field(strict=True, ge=-(10**15), le=10**15)]  # below 0 if more were deleted than made


class _File(BaseModel):
    """What a file says; the names of its keys are the fields' aliases."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    FILE: ClassVar[str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What the file in a folder says; nothing, if there is none, or it is damaged.

        Raises:
            OSError: it may not be read.
        """
        try:
            content = json.loads((folder / cls.FILE).read_text(encoding="utf-8"), parse_int=_whole)
        except (FileNotFoundError, ValueError, RecursionError):
            content = None
        return cls.model_validate(content if isinstance(content, dict) else {})


class Filling(_File):
    """How far the filler is."""

    FILE: ClassVar[str] = "filling.json"

    tasks_left: Known[Count] = None
    tasks_answered: Known[Count] = None
    answers_cut: Known[Count] = None  # of these tasks' answers, those that a limit cut off in the middle
    tasks_failed: Items[Count] = Field(default_factory=dict)  # by reason
    answers_per_second: Known[Number] = None
    tokens_per_second: Known[Number] = None
    seconds_left: Known[Number] = None
    is_filling: Known[bool] = None
    at: Known[Number] = None  # seconds since the epoch
    pass_number: Known[Count] = Field(None, alias="pass")  # passes over a project are counted


class ProjectCounts(_File):
    """What the trainer counted when it last looked at the project."""

    FILE: ClassVar[str] = "waiting.json"

    title: Words = ""
    num_new_judgements: Known[_Balance] = Field(None, alias="judgements")  # since the last round
    num_tasks: Known[Count] = Field(None, alias="tasks")
    num_judged_tasks: Known[Count] = Field(None, alias="tasks_judged")
    num_judgements: Known[Count] = Field(None, alias="annotations")
    training_since: Known[Number] = None  # seconds since the epoch; None unless a round is running
    missing: Known[Text] = None  # for a first round to end with a verdict, in words; None if nothing is, and after it
    not_before: Known[Number] = None  # the next round, in seconds since the epoch; None unless the last one failed


class OpenRepeats(_File):
    """Which repeats wait for people: copies of tasks that were judged (backend/new_tasks/repeats.py)."""

    FILE: ClassVar[str] = "repeats.json"

    open: Rows[Count] = ()  # their ids


class LastRound(_File):
    """How the last round ended."""

    FILE: ClassVar[str] = "last_round.json"

    outcome: Words = ""
    reason: Words = ""
    version: Known[Text] = None
    seconds: Known[Number] = None
    at: Known[Number] = None  # seconds since the epoch


class LastAlignment(LastRound):
    """How the last alignment ended."""

    FILE: ClassVar[str] = "last_alignment.json"


class NextRound(_File):
    """When the schedule's next round is, and what starts one before; and when the next alignment is, if they have a schedule."""

    FILE: ClassVar[str] = "next_round.json"

    at: Known[Number] = None
    schedule: Words = ""
    min_new_pairs: Known[Count] = None
    align_at: Known[Number] = None
    align_schedule: Words = ""


def write_filling(folder: ProjectFolder, filling: Filling) -> None:
    """Keeps how far the filler is, for every process that is asked.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    with writing(folder.path):
        write_whole(folder.path / Filling.FILE, json.dumps(filling.model_dump(by_alias=True)), is_durable=False)


def write_project_counts(folder: ProjectFolder, counts: ProjectCounts) -> None:
    """Keeps what the trainer counted at its last look.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(folder.path / ProjectCounts.FILE, counts.model_dump(by_alias=True, exclude_none=True))


def write_last_round(
    folder: ProjectFolder, outcome: str, *, reason: str, version: str | None, seconds: float, kind: type[LastRound] = LastRound
) -> None:
    """Keeps how a round, or what `kind` is of, ended just now.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    ended = {"outcome": outcome, "reason": reason, "version": version, "seconds": round(seconds, 1), "at": round(time.time(), 1)}
    _write(folder.path / kind.FILE, ended)


def write_next_round(
    model_dir: Path,
    at: float | None,
    *,
    schedule: str,
    min_new_pairs: int,
    align_at: float | None = None,
    align_schedule: str = "",
) -> None:
    """Keeps when the schedules' next round and alignment are, in seconds since the epoch.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    rounds = {"at": at, "schedule": schedule, "min_new_pairs": min_new_pairs}
    _write(
        model_dir / NextRound.FILE, rounds | ({"align_at": align_at, "align_schedule": align_schedule} if align_schedule else {})
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content), is_durable=False)


def _whole(digits: str) -> int | None:
    """The number; None if it is larger than any that is written, and perhaps than any float."""
    return int(digits) if len(digits) < 20 else None
