"""What people say of two generators, as the trainer last read it: <project folder>/duels.json.

It lies beside the cards, which never change. The judgements are in Label Studio, so to delete the file costs one reading.
Covered: a file that is missing, of another build, damaged or hostile: each value is what it should be, or is missing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from preference.atomic_files import write_whole, writing
from preference.formatting import between, per_cent, plural
from preference.report_card.shares import Share
from preference.tolerant import Count, Known, Rows, Words, adapter_of, otherwise, read_as

_FILE = "duels.json"


@dataclass(frozen=True)
class DuelFigures:
    """How often people prefer one generator's answers to another's; a tie is half."""

    new: Words = ""  # a generator version, "base", or ENGINE:MODEL
    other: Words = ""
    wins: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # of `new`, by people alone
    powered: Annotated[Share, otherwise(Share)] = field(
        default_factory=Share
    )  # the same with the reward model's word on open duels
    num_open: Known[Count] = None  # duels that nobody judged yet, on which the reward model was asked
    preferred: Words = ""  # which of the two, once it is beyond noise; that is said once, and stays
    read_at: Words = ""

    def is_of(self, first: str, second: str) -> bool:
        """Whether it is of these two, in whichever order."""
        return {self.new, self.other} == {first, second}

    def __str__(self) -> str:
        wins, powered = self.wins, self.powered
        if wins.value is None:
            return f"{self.new} beside {self.other}: {wins.count or 0} {plural(wins.count or 0, 'duel')} judged"
        text = f"people prefer {self.new} to {self.other} in {per_cent(wins.value)} of {wins.count or 0} {plural(wins.count or 0, 'duel')}{_between(wins)}"
        if powered.value is not None:
            text += (
                f"; with the reward model's word on {self.num_open or 0} open ones {per_cent(powered.value)}{_between(powered)}"
            )
        return f"{text}; {self.preferred} is preferred beyond noise" if self.preferred else text


@dataclass(frozen=True)
class _File:
    duels: Rows[DuelFigures] = ()


def read_duels(folder: Path) -> tuple[DuelFigures, ...]:
    """What the file in a project's folder says, the latest first; nothing without one.

    Raises:
        OSError: it may not be read.
    """
    try:
        values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return ()
    read = read_as(_File, values if isinstance(values, dict) else {})
    return tuple(figures for figures in read.duels if figures.new and figures.other)


def write_duels(folder: Path, duels: Sequence[DuelFigures]) -> None:
    """Writes what is known now, in place of what was known before.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    values: dict[str, Any] = adapter_of(_File).dump_python(_File(tuple(duels)))
    with writing(folder):
        write_whole(folder / _FILE, json.dumps(values, indent=1, ensure_ascii=False))


def figures_of(duels: Sequence[DuelFigures], first: str, second: str) -> DuelFigures | None:
    """What is known of these two; None if nothing is."""
    return next((figures for figures in duels if figures.is_of(first, second)), None)


def _between(share: Share) -> str:
    return "" if share.interval is None else f" (95 % interval {between(share.interval)})"
