"""Seconds and memory of rounds on 20,000 judgements that are known, beside those of another checkout.

    BASELINE=/path/to/a/checkout make bench ONLY=light

Each checkout runs its own `rounds` benchmark in its own environment, one after the other, each on one thread.
"""

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.row import Row
from demo.stack import REPOSITORY

_SAID = re.compile(r"50 new ([\d.]+) s; all ([\d.]+) s")
_NAMES = ("round with 50 new judgements on 20,000", "first round on 20,000, from kept features")


def run(console: Console) -> list[Row]:
    """Two rows of seconds, and one of megabytes."""
    checkouts = [REPOSITORY, *map(Path, filter(None, [os.environ.get("BASELINE")]))]
    measured = []
    for checkout in checkouts:
        measured.append(_measured(checkout))
        *seconds, megabytes = measured[-1]
        console.print(f"{checkout.name}: 50 new {seconds[0]:.1f} s, all {seconds[1]:.1f} s, at most {megabytes:.0f} MB")
    ours, beside = measured[0], measured[1] if len(measured) > 1 else (None,) * 3
    units = (*[(name, "s") for name in _NAMES], ("memory of both rounds", "MB"))
    return [Row(name, value, unit, other, "BASELINE") for (name, unit), value, other in zip(units, ours, beside, strict=True)]


def _measured(checkout: Path) -> tuple[float, float, float]:
    """(seconds with 50 new judgements, seconds with all of them new, megabytes at most)"""
    command = [str(checkout / ".venv" / "bin" / "python"), "-m", "benchmarks", "--only", "rounds"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "COLUMNS": "200"}
    child = subprocess.Popen(command, cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process, peak = psutil.Process(child.pid), 0.0
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, process.memory_info().rss / 2**20)
        time.sleep(0.1)
    output = child.communicate()[0]
    said = _SAID.search(output)
    if said is None:
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}: {output[-500:]}")
    return float(said[1]), float(said[2]), peak
