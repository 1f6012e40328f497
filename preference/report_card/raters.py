"""How far raters that are no people agree with people: <project folder>/raters/<name>.json, one file for each.

Covered: a file of another build, a damaged one and a hostile one: each value is what it should be, or is missing.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from preference.atomic_files import write_whole, writing
from preference.report_card.shares import Share
from preference.tolerant import Count, Known, Text, Words, adapter_of, otherwise, read_as

_MOST = 20


@dataclass(frozen=True)
class RaterFigures:
    """One rater beside people and beside the champion, on the same held-out comparisons: those that it has an opinion on."""

    rater: Words = ""  # the model's name on its server
    judged_at: Words = ""
    agreement: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # with the majority of people; a tie is half
    num_ties: Known[Count] = None  # also if it says one thing in one order and another in the other
    num_unreadable: Known[Count] = None  # comparisons of which a reply says nothing
    num_refused: Known[Count] = None  # comparisons that the server refused
    first_rate: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # how often the answer that came first won
    people: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # how often two annotators agree
    champion: Known[Text] = None
    champion_accuracy: Annotated[Share, otherwise(Share)] = field(default_factory=Share)

    @property
    def name(self) -> str:
        """The rater for people: the last part of a path or an id."""
        return self.rater.rstrip("/").rpartition("/")[2]


def rater_path(folder: Path, rater: str, ending: str) -> Path:
    """A file of one rater's in a project's folder, whatever its name is."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", rater).strip(".-")[:60]
    return folder / "raters" / f"{plain}-{hashlib.sha256(rater.encode()).hexdigest()[:8]}{ending}"


def write_rater(folder: Path, figures: RaterFigures) -> None:
    """Writes what is known of a rater.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    path = rater_path(folder, figures.rater, ".json")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(rater_values(figures), indent=1, ensure_ascii=False))


def read_raters(folder: Path) -> list[RaterFigures]:
    """The raters of a project, the latest first.

    Raises:
        OSError: a file may not be read.
    """
    every = []
    for path in sorted((folder / "raters").glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            every.append(read_as(RaterFigures, values))
    return sorted((figures for figures in every if figures.rater), key=lambda figures: figures.judged_at, reverse=True)[:_MOST]


def rater_values(figures: RaterFigures) -> dict[str, Any]:
    """All of it as JSON can hold it."""
    values: dict[str, Any] = adapter_of(RaterFigures).dump_python(figures)
    return values
