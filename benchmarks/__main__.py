"""`make bench`: runs the benchmarks, prints one table, writes benchmarks/results/latest.json and the end of docs/benchmarks.md."""

import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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
from benchmarks.row import Row

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
# One thread each, by the clock of its processor: as many as there are cores run at once, the longest first. All else has the machine alone:
# light, too, since the memory of its workers is proportional, and other programs share libraries with them.
_BY_CPU = ("align", "order", "accuracy", "transfer", "commands")
_Measured = tuple[str, list[Row] | None, float]  # its name, its rows, None if it failed, and the seconds that it took
_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_RESULTS = Path(__file__).parent / "results" / "latest.json"


@click.command()
@click.option("--only", type=click.Choice(list(BENCHMARKS)), help="Run one benchmark.")
def main(only: str | None) -> None:
    """Measure Pairloop on this machine."""
    console = Console()
    rows, failed = list[Row](), list[str]()
    for name, measured, seconds in _all_measured() if only is None else [_measured(only)]:
        if measured is None:
            failed.append(name)
            continue
        console.print(f"{name} took {seconds / 60:.1f} minutes")
        if measured:
            write_part(_PAGE, name, measured, seconds=seconds, order=list(BENCHMARKS))
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
    if failed:
        console.print(f"failed, as is said above, and not written: {', '.join(failed)}")
    sys.exit(0 if rows and not failed else 1)


def _all_measured() -> Iterator[_Measured]:
    """Of each benchmark, as it ends."""
    yield from (_measured(name) for name in BENCHMARKS if name not in _BY_CPU)
    with ThreadPoolExecutor(os.cpu_count()) as at_once:
        for ended in as_completed([at_once.submit(_measured_apart, name) for name in _BY_CPU]):
            yield ended.result()


def _measured_apart(name: str) -> _Measured:
    """In a process of its own: if that is killed, as for memory, it is this one alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measured, name).result()
        except BrokenProcessPool as error:
            Console().print(f"{name}: {error}")
            return name, None, 0.0


def _measured(name: str) -> _Measured:
    """One that fails costs the others nothing, which take hours."""
    started, console = time.monotonic(), Console()
    rows: list[Row] | None = None
    try:
        rows = BENCHMARKS[name](console)
    except Exception:
        console.print_exception()
    return name, rows, time.monotonic() - started


if __name__ == "__main__":
    main()
