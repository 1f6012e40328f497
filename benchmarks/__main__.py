"""`make bench`: runs the benchmarks, prints one table, writes benchmarks/results/latest.json and the end of docs/benchmarks.md."""

import json
import platform
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import (
    accuracy,
    align,
    commands,
    filling,
    generation,
    importing,
    light,
    load,
    order,
    reload,
    rounds,
    score,
    stages,
    transfer,
)
from benchmarks.page import write_part

BENCHMARKS = {
    "generation": generation.run,
    "filling": filling.run,
    "importing": importing.run,
    "load": load.run,
    "accuracy": accuracy.run,
    "transfer": transfer.run,
    "reload": reload.run,
    "score": score.run,
    "align": align.run,
    "order": order.run,
    "rounds": rounds.run,
    "light": light.run,
    "commands": commands.run,
    "stages": stages.run,
}
_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_RESULTS = Path(__file__).parent / "results" / "latest.json"


@click.command()
@click.option("--only", type=click.Choice(list(BENCHMARKS)), help="Run one benchmark.")
def main(only: str | None) -> None:
    """Measure Pairloop on this machine."""
    console = Console()
    rows = []
    for name, run in BENCHMARKS.items():
        if only not in (None, name):
            continue
        started = time.monotonic()
        if measured := run(console):
            write_part(_PAGE, name, measured, seconds=time.monotonic() - started, order=list(BENCHMARKS))
        rows += measured
    table = Table("name", "value", "unit", "baseline", "ratio", title="Benchmarks")
    for row in rows:
        baseline = "" if row.baseline is None else f"{row.baseline:.3g} ({row.baseline_name})"
        value = f"{row.value:.3g}" + ("" if row.interval is None else f" ({row.interval[0]:.3g} to {row.interval[1]:.3g})")
        table.add_row(row.name, value, row.unit, baseline, "" if row.ratio is None else f"{row.ratio:.3g}")
    console.print(table)
    _RESULTS.parent.mkdir(exist_ok=True)
    machine = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    results = {**machine, "rows": [{**asdict(row), "ratio": row.ratio} for row in rows]}
    _RESULTS.write_text(json.dumps(results, indent=1), encoding="utf-8")
    console.print(f"written to {_RESULTS.relative_to(Path.cwd()) if _RESULTS.is_relative_to(Path.cwd()) else _RESULTS}")
    sys.exit(0 if rows else 1)


if __name__ == "__main__":
    main()
