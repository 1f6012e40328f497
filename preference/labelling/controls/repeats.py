"""Repeats: comparisons that come back with their answers in each other's place, so that it is known how often people say the same again.

Such a task is a copy. Its meta names the judgement that it repeats, and what was shown then. The page shows the same of the same answers:
another suggestion, or none, would make a difference of what people see look like one of what they think.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preference.labelling.controls.verdict import Side

META_KEY = "pairloop_repeat"  # in a task's meta
_MOST = 1e6  # of rewards, which have standard deviation 1


@dataclass(frozen=True)
class Shown:
    """What people see of a model on the page of a comparison of two."""

    lit: Side | None = None  # the side that is preselected
    rewards: tuple[float | None, float | None] = (None, None)  # the left and the right answer's; None if it is not shown

    @property
    def mirrored(self) -> "Shown":
        """The same of the answers in each other's place."""
        lit: Side | None = None if self.lit is None else "right" if self.lit == "left" else "left"
        return Shown(lit, (self.rewards[1], self.rewards[0]))


@dataclass(frozen=True)
class Repeat:
    """What a repeat repeats."""

    of_task: int
    annotation: int  # the judgement that is to be made again
    shown: Shown  # on the repeat's page: what was shown then, with both sides exchanged

    def to_meta(self) -> dict[str, Any]:
        """The meta of such a task."""
        shown = {"lit": self.shown.lit, "rewards": list(self.shown.rewards)}
        return {META_KEY: {"of_task": self.of_task, "annotation": self.annotation, **shown}}


def repeat_of(task: Mapping[str, Any]) -> Repeat | None:
    """What this task repeats, by its meta; None if it is a task of its own."""
    meta = task.get("meta")
    entry = meta.get(META_KEY) if isinstance(meta, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("of_task"), int) or not isinstance(entry.get("annotation"), int):
        return None
    lit: Side | None = {"left": "left", "right": "right"}.get(str(entry.get("lit")))  # type: ignore[assignment]
    held = entry.get("rewards")
    rewards = [_number(value) for value in held] if isinstance(held, list) and len(held) == 2 else [None, None]
    return Repeat(entry["of_task"], entry["annotation"], Shown(lit, (rewards[0], rewards[1])))


def _number(value: object) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST
    return float(value) if is_one else None  # type: ignore[arg-type]
