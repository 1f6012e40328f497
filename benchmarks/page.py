"""The end of docs/benchmarks.md, which the bench writes: of each of its parts the last run, with the time that it took."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.row import Row
from preference.atomic_files import write_whole

_HEADING = "## As the bench wrote it"
_PART = "\n### `"
_COLUMNS = ("figure", "measured", "beside", "ratio", "bar", "met")


def write_part(page: Path, part: str, rows: Sequence[Row], *, seconds: float, order: Sequence[str]) -> None:
    """Puts a part's rows in the place of those of its last run; all else on the page stays, also what is below. `order`: of all parts.

    Raises:
        OSError: the page cannot be written; it is as it was.
    """
    text = page.read_text(encoding="utf-8")
    above, _, below = text.partition(f"{_HEADING}\n")
    written, heading, after = below.partition("\n## ")
    intro, *held = written.split(_PART)
    parts = {name: rest.strip() for name, _, rest in (each.partition("`\n") for each in held)}
    parts[part] = f"{_conditions(seconds)}\n\n{_table(rows)}"
    sections = [f"{_PART}{name}`\n\n{parts[name]}\n" for name in (*order, *parts) if name in parts]
    write_whole(page, f"{above}{_HEADING}\n{intro.rstrip()}\n" + "".join(dict.fromkeys(sections)) + heading + after)


def _conditions(seconds: float) -> str:
    baseline = os.environ.get("BASELINE")
    beside = f", beside build {_commit(Path(baseline))}, which the table calls BASELINE" if baseline else ""
    load = psutil.getloadavg()[2]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, build {_commit(Path(__file__).parent)}{beside}; "
        f"{seconds / 60:.1f} minutes; {load:.1f} processes ran or waited over the last 15."
    )


def _commit(checkout: Path) -> str:
    commit = _git(checkout, "rev-parse", "--short=7", "HEAD")
    # The parts before this one wrote the page.
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs/benchmarks.md")
    return f"{commit or checkout.name}{' with changes' if changes else ''}"


def _git(checkout: Path, *arguments: str) -> str:
    told = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    return told.stdout.strip()


def _table(rows: Sequence[Row]) -> str:
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *map(_cells, rows)]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) for cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    interval = "" if row.interval is None else f" ({row.interval[0]:.3g} to {row.interval[1]:.3g})"
    return (
        row.name,
        f"{row.value:.3g}{f' {row.unit}' if row.unit else ''}{interval}",
        "" if row.baseline is None else f"{row.baseline:.3g} ({row.baseline_name})",
        "" if row.ratio is None else f"{row.ratio:.3g}",
        "" if row.bar is None else str(row.bar),
        {True: "yes", False: "no", None: "" if row.bar is None else "not measured"}[row.is_met],
    )
