"""Seconds of each stage of the loop: the whole demo, on a Label Studio of its own."""

import math
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.row import Row
from demo.__main__ import DEMO_SETTINGS, Demo
from demo.stack import Stack, free_port


def run(console: Console) -> list[Row]:
    """A row a stage."""
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as folder:
        ports = {"label_studio_port": free_port(), "backend_port": free_port()}
        with Stack(Path(folder), **ports, settings=DEMO_SETTINGS) as stack:
            demo = Demo(stack, console)
            card = demo.run()
    rows = [Row(name, seconds, "s") for name, seconds in demo.seconds.items()]
    held_out = Row(
        "held-out accuracy of the demo's version",
        card.metrics.accuracy or math.nan,
        "",
        card.metrics.shorter_wins,
        "shorter wins",
    )
    return [*rows, held_out]
