"""CPU seconds and memory of rounds on 20,000 judgements that are known, beside those of another checkout.

    BASELINE=/path/to/a/checkout make bench ONLY=light

Each checkout runs its own `rounds` benchmark in its own environment, one after the other, each on one thread and by the clock of its
process: what else the machine does counts for neither. Memory is what no file backs: pages of files, such as the base's weights, the
system takes back when it likes.
"""

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import number_formats, requests, workers
from benchmarks.rounds import NUM_KNOWN, NUM_NEW
from benchmarks.row import Bar, Row
from demo.stack import REPOSITORY

_SAID = re.compile(r"50 new ([\d.]+) s; all ([\d.]+) s and (\d+) s of features")
_BY_CPU = "import time; time.perf_counter = time.process_time; from benchmarks.__main__ import main; main()"
# Keeps features of the answers of the `rounds` benchmark, and reads them all, by names that build e08322f has, too.
_READING = """
import sys, tempfile, time
from pathlib import Path
import torch
from benchmarks import rounds
from preference.settings import Settings
torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as scratch:
    (Path(scratch) / "embedded").symlink_to(rounds.REPOSITORY / ".cache" / "bench-models" / "embedded")
    settings = Settings.from_environ({"MODEL_DIR": scratch, "LABEL_STUDIO_URL": "http://x", "LABEL_STUDIO_API_KEY": "x"})
    extractors = rounds.Extractors(Path(scratch), torch.device("cpu"))
    rounds._write_features(settings, extractors)
    extractor = extractors(rounds._recipe(settings))
    known = [rounds._data(number) for number in range(20_000)]
    prompts, answers = [d["prompt"] for d in known for _ in range(2)], [d[f"answer{i}"] for d in known for i in (1, 2)]
    before = time.process_time()
    extractor.features(prompts, answers)
    print(f"read in {time.process_time() - before:.2f} s")
"""
_NAMES = (
    "round with 50 new judgements on 20,000", "the same, but for what the base computes of the 50", "first round on 20,000, from kept features",
    "features of 40,000 kept answers", "memory of both rounds",
)  # fmt: skip
_UNITS = ("cpu-s", "cpu-s", "cpu-s", "cpu-s", "MB")
_BARS = (Bar(0.2), None, Bar(1 / 3), Bar(0.1), Bar(1))


def run(console: Console) -> list[Row]:
    """Rows of CPU seconds, one of megabytes, those of the workers, of what filling asks of Label Studio, and of bfloat16."""
    checkouts = [REPOSITORY, *map(Path, filter(None, [os.environ.get("BASELINE")]))]
    measured = []
    for checkout in checkouts:
        measured.append(_measured(checkout))
        console.print(
            f"{checkout.name}: " + "; ".join(f"{n} {v:.1f} {u}" for n, v, u in zip(_NAMES, measured[-1], _UNITS, strict=True))
        )
    beside = measured[1] if len(measured) > 1 else (None,) * len(_NAMES)
    rows = [
        Row(name, value, unit, other, "BASELINE", bar=bar)
        for name, value, unit, other, bar in zip(_NAMES, measured[0], _UNITS, beside, _BARS, strict=True)
    ]
    return [*rows, *workers.run(console), *requests.run(console), *number_formats.run(console)]


def _measured(checkout: Path) -> tuple[float, ...]:
    """In the order of _NAMES."""
    said, megabytes = _ran(checkout, ["-c", _BY_CPU, "--only", "rounds"], _SAID)
    read, _ = _ran(checkout, ["-c", _READING], re.compile(r"read in ([\d.]+) s"))
    with_new, whole, of_all = (float(said[i]) for i in (1, 2, 3))
    of_new = of_all * NUM_NEW / NUM_KNOWN  # from which the benchmark scaled it
    return with_new, with_new - of_new, whole, float(read[1]), megabytes


def _ran(checkout: Path, arguments: list[str], pattern: re.Pattern[str]) -> tuple[re.Match[str], float]:
    """What the checkout's Python said, and the most memory that it had, in MB, without what files back."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "COLUMNS": "200"}
    command = [str(checkout / ".venv" / "bin" / "python"), *arguments]
    child = subprocess.Popen(command, cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process, peak = psutil.Process(child.pid), 0.0
    while child.poll() is None:
        with suppress(psutil.NoSuchProcess):
            memory = process.memory_info()
            peak = max(peak, (memory.rss - memory.shared) / 2**20)
        time.sleep(0.1)
    output = child.communicate()[0]
    said = pattern.search(output)
    if said is None:
        raise RuntimeError(f"a benchmark of {checkout} ended with status {child.returncode}: {output[-500:]}")
    return said, peak
