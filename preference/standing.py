"""How a project's training stands: told by the trainer, read by whoever is asked.

<registry folder>/waiting.json      how many judgements came since the last round
<registry folder>/last_round.json   how that ended: outcome, reason, version, seconds (it took), at (it ended, seconds
                                    since the epoch)
"""

import json
import time
from pathlib import Path
from typing import Any

from preference.durable import write_whole
from preference.registry import Registry

_WAITING, _LAST_ROUND = "waiting.json", "last_round.json"


def tell_waiting(registry: Registry, num_judgements: int) -> None:
    """Remembers how many judgements came since the last round.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    _write(registry, _WAITING, {"judgements": num_judgements})


def tell_round(registry: Registry, outcome: str, *, reason: str, version: str | None, seconds: float) -> None:
    """Remembers how a round ended, just now.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    ended = {"outcome": outcome, "reason": reason, "version": version, "seconds": round(seconds, 1), "at": round(time.time(), 1)}
    _write(registry, _LAST_ROUND, ended)


def read_waiting(registry: Registry) -> int | None:
    """How many judgements came since the last round; None where no trainer has told."""
    judgements = _read(registry.folder / _WAITING).get("judgements")
    return judgements if isinstance(judgements, int) else None


def read_round(registry: Registry) -> dict[str, Any]:
    """What is known of the last round; empty where there was none."""
    return _read(registry.folder / _LAST_ROUND)


def _write(registry: Registry, name: str, told: dict[str, Any]) -> None:
    registry.folder.mkdir(parents=True, exist_ok=True)
    write_whole(registry.folder / name, json.dumps(told), is_durable=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
