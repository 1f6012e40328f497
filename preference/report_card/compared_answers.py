"""What a generator version and the one beside it wrote for their judge: <version>/answers.jsonl, a line for each held-out prompt.

A reward model decides on figures alone. People who want to know what a version writes read this.
Covered: a file that is missing, of another build, damaged or hostile: lines that say nothing are left out.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preference.atomic_files import write_whole
from preference.tolerant import Rows, Text, Words, read_as

FILE = "answers.jsonl"


@dataclass(frozen=True)
class ComparedAnswers:
    """One prompt, and the answers of each, written with the same seeds."""

    prompt: Words = ""  # as people read it
    new: Rows[Text] = ()
    other: Rows[Text] = ()


def write_compared(folder: Path, rows: Iterable[ComparedAnswers]) -> None:
    """Writes the file into a version that is not published yet.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    lines = (json.dumps(asdict(row)) for row in rows)
    write_whole(folder / FILE, "".join(f"{line}\n" for line in lines), is_private=True)  # it holds people's prompts


def read_compared(folder: Path) -> list[ComparedAnswers]:
    """What the file in a version's folder holds; nothing without one.

    Raises:
        OSError: it may not be read.
    """
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    rows = (read_as(ComparedAnswers, values) for values in map(_values, lines) if isinstance(values, dict))
    return [row for row in rows if row.prompt and row.new and row.other]


def _values(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
