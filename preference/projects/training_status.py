"""How a project's training stands: told by the trainer, read by whoever is asked.

MODEL_DIR/next_round.json           when the schedule's next round is (at), by what rule (schedule), and how many new
                                    judgements bring one before (min_new_pairs)
<project folder>/waiting.json      how many judgements came since the last round, the project's title and counts of tasks
                                    and judgements, and since when a round is running, if one is
<project folder>/last_round.json   how that ended: outcome, reason, version, seconds (it took), at (it ended, seconds
                                    since the epoch)
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preference.atomic_files import write_whole
from preference.projects.folder import ProjectFolder

_WAITING, _LAST_ROUND, _NEXT_ROUND = "waiting.json", "last_round.json", "next_round.json"


def tell_waiting(folder: ProjectFolder, num_judgements: int, *, project: Mapping[str, Any] | None = None) -> None:
    """Remembers how many judgements came since the last round, and what else is known of the project.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(folder.path / _WAITING, {**(project or {}), "judgements": num_judgements})


def tell_round(folder: ProjectFolder, outcome: str, *, reason: str, version: str | None, seconds: float) -> None:
    """Remembers how a round ended, just now.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    ended = {"outcome": outcome, "reason": reason, "version": version, "seconds": round(seconds, 1), "at": round(time.time(), 1)}
    _write(folder.path / _LAST_ROUND, ended)


def tell_next_round(model_dir: Path, at: float | None, *, schedule: str, min_new_pairs: int) -> None:
    """Remembers when the schedule's next round is, in seconds since the epoch.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(model_dir / _NEXT_ROUND, {"at": at, "schedule": schedule, "min_new_pairs": min_new_pairs})


def read_waiting(folder: ProjectFolder) -> int | None:
    """How many judgements came since the last round; None where no trainer has told."""
    judgements = read_project(folder).get("judgements")
    return judgements if isinstance(judgements, int) else None


def read_project(folder: ProjectFolder) -> dict[str, Any]:
    """What the trainer told of the project when it last looked; empty where none has."""
    return _read(folder.path / _WAITING)


def read_round(folder: ProjectFolder) -> dict[str, Any]:
    """What is known of the last round; empty where there was none."""
    return _read(folder.path / _LAST_ROUND)


def read_next_round(model_dir: Path) -> dict[str, Any]:
    """When a trainer's schedule has its next round; empty where none has told."""
    return _read(model_dir / _NEXT_ROUND)


def _write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(told), is_durable=False)


def _whole(digits: str) -> int | None:
    """The number; None where it is larger than any that is told, and perhaps than any float."""
    return int(digits) if len(digits) < 20 else None


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
