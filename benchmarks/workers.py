"""What gunicorn's workers take: memory, the CPU seconds of a start, and those of the successor of a worker that was killed.

    BASELINE=/path/to/a/checkout make bench ONLY=light

Each checkout serves, in its own environment, a champion over the embedded model that it trained itself.
Memory is proportional (PSS): what several processes share counts once. It is the master's and all workers', after each worker has scored.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from benchmarks.reload import LABEL_CONFIG, TASKS
from benchmarks.row import Bar, Row
from benchmarks.servers import PROJECT, ours
from demo.process import Process, wait_until
from demo.stack import REPOSITORY

_MANY = 4
_PATIENCE = 900.0  # seconds: what counts is CPU time, and a busy machine gives little of it
_TRAIN = "import sys; from pathlib import Path; from benchmarks.servers import trained; trained(Path(sys.argv[1]))"


@dataclass(frozen=True)
class Figures:
    """What one checkout takes."""

    health_seconds: float  # CPU, from the start of `serve` to the first answer of /health
    scored_seconds: float  # and until its one worker has scored
    one_mb: float
    many_mb: float
    successor_seconds: float  # CPU, of the process that follows a killed worker, until it has scored


def run(console: Console) -> list[Row]:
    """A row for each figure of this checkout, beside BASELINE's."""
    checkouts = [REPOSITORY, *map(Path, filter(None, [os.environ.get("BASELINE")]))]
    here, *others = [_measured(checkout, console) for checkout in checkouts]
    beside: Any = others[0] if others else None
    names = {
        "one_mb": ("memory of the server, one worker", "MB", Bar(2 / 3)),
        "many_mb": (f"memory of the server, {_MANY} workers", "MB", None),
        "health_seconds": ("serve until /health: CPU", "s", Bar(0.5)),
        "scored_seconds": ("serve until a score: CPU", "s", None),
        "successor_seconds": ("a killed worker's successor until a score: CPU", "s", Bar(1, "value")),
    }
    rows = [
        Row(name, getattr(here, key), unit, getattr(beside, key, None), "BASELINE", bar=bar)
        for key, (name, unit, bar) in names.items()
    ]
    return [*rows, Row(f"memory, {_MANY} workers", here.many_mb, "MB", here.one_mb, "one worker", bar=Bar(1.25))]


def _measured(checkout: Path, console: Console) -> Figures:
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        folder = Path(scratch)
        _run_in(checkout, _TRAIN, scratch)
        _make_own(folder / "models" / "embedded")
        with _serving(checkout, folder, workers=1) as (server, health_seconds):
            _score_in_each(server, workers=1)
            scored_seconds, one_mb = _cpu_seconds(server), _memory_mb(server)
        with _serving(checkout, folder, workers=_MANY) as (server, _):
            _score_in_each(server, workers=_MANY)
            many_mb = _memory_mb(server)
            successor_seconds = _replace_a_worker(server)
    figures = Figures(health_seconds, scored_seconds, one_mb, many_mb, successor_seconds)
    console.print(f"{checkout.name}: {figures}")
    return figures


def _run_in(checkout: Path, program: str, *arguments: str) -> None:
    command = [str(checkout / ".venv" / "bin" / "python"), "-c", program, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=checkout, env=environ, check=True, capture_output=True)


def _make_own(linked: Path) -> None:
    """A copy of the weights in the place of a link: another process that has the same file in memory would take a part of what is measured."""
    original = linked.resolve()
    linked.unlink()
    shutil.copytree(original, linked)


@contextmanager
def _serving(checkout: Path, folder: Path, *, workers: int) -> Iterator[tuple[Process, float]]:
    """(the server, CPU seconds until it answered)"""
    server = ours(folder, folder / "models", WORKERS=str(workers), DEVICE="cpu", PYTHONPATH=str(checkout))
    server = replace(server, command=[str(checkout / ".venv" / "bin" / "pairloop-backend"), "serve"])
    server.start()
    try:
        wait_until(lambda: _is_up(server), timeout_seconds=_PATIENCE, what="/health", check=server.check, every_seconds=0.02)
        yield server, _cpu_seconds(server)
    finally:
        server.stop()


def _is_up(server: Process) -> bool:
    try:
        return httpx.get(f"{_address(server)}/health", timeout=_PATIENCE).is_success
    except httpx.HTTPError:
        return False


def _score_in_each(server: Process, *, workers: int) -> None:
    for worker in _workers(server, count=workers):
        _wait_for_score(server, worker)


def _workers(server: Process, *, count: int) -> list[psutil.Process]:
    def are_there() -> bool:
        return len(psutil.Process(server.pid).children()) == count

    wait_until(are_there, timeout_seconds=_PATIENCE, what="the workers", check=server.check, every_seconds=0.02)
    return psutil.Process(server.pid).children()


def _wait_for_score(server: Process, worker: psutil.Process) -> None:
    """Returns when this worker has scored; the others stand still meanwhile, so that it gets the request."""
    others = [other for other in psutil.Process(server.pid).children() if other.pid != worker.pid]
    # Texts that no other worker has read, so that it computes.
    tasks = [{**task, "data": {**task["data"], "answer1": f"{worker.pid} times: {task['data']['answer1']}"}} for task in TASKS]
    body = {"tasks": tasks, "project": f"{PROJECT}.1", "label_config": LABEL_CONFIG, "params": {}}

    def has_scored() -> bool:
        try:
            return all(
                httpx.post(f"{_address(server)}/predict", json=body, timeout=_PATIENCE).raise_for_status().json()["results"]
            )
        except httpx.TransportError:  # it is not there yet
            return False

    for other in others:
        other.suspend()
    try:
        wait_until(has_scored, timeout_seconds=_PATIENCE, what="a score", check=server.check, every_seconds=0.1)
    finally:
        for other in others:
            other.resume()


def _replace_a_worker(server: Process) -> float:
    """CPU seconds of the process that follows a killed worker, until it has scored."""
    before = _workers(server, count=_MANY)
    before[0].send_signal(signal.SIGKILL)
    before[0].wait(timeout=_PATIENCE)

    def successor() -> psutil.Process | None:
        return next((worker for worker in psutil.Process(server.pid).children() if worker not in before), None)

    wait_until(
        lambda: successor() is not None, timeout_seconds=_PATIENCE, what="a successor", check=server.check, every_seconds=0.02
    )
    worker = successor()
    assert worker is not None
    _wait_for_score(server, worker)
    return _seconds_of(worker)


def _cpu_seconds(server: Process) -> float:
    master = psutil.Process(server.pid)
    return sum(_seconds_of(process) for process in (master, *master.children()))


def _seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _memory_mb(server: Process) -> float:
    time.sleep(5)  # what is given back after an answer is
    master = psutil.Process(server.pid)
    return sum(process.memory_full_info().pss for process in (master, *master.children())) / 2**20


def _address(server: Process) -> str:
    return f"http://127.0.0.1:{server.environ['PORT']}"
