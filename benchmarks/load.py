"""How the backend serves 200 clients at once, beside label-studio-ml's own server with the same model under the same load.

At the end, what the largest bodies take that it allows (largest_bodies.py).

Server and clients share this machine: on two cores the clients' own work is part of every figure, for both servers alike.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from benchmarks import largest_bodies
from benchmarks.row import Bar, Row
from benchmarks.servers import PROJECT, PYTHON, ours, serving, theirs, trained
from demo.process import Process
from demo.stack import REPOSITORY

ROUTES = ("/health", "/setup", "/predict, 1 task", "/predict, more", "/webhook", "/webhook, an import")
_CLIENTS, _SECONDS, _EVENTS = 200, 45, 5_000
_MOST_BYTES = 6 << 30  # label-studio-ml starts a process for every event; it is stopped before the machine is full
_LABEL_STUDIO_GIVES_UP = {"/health": 1.0, "/setup": 3.0, "/webhook": 1.0, "/webhook, an import": 1.0}  # seconds


@dataclass(frozen=True)
class Load:
    """What the clients do; benchmarks/clients.py says what each option is."""

    clients: int
    seconds: float
    pause: float = 1.0
    events: int = 0
    burst_at: float = 5.0
    most_tasks: int = 500
    created: int = 5_000
    importers: int = 10


@dataclass(frozen=True)
class Memory:
    """What a server and all processes below it took, in bytes resident, and how many processes there were at most."""

    before: int
    most: int
    after: int
    num_processes: int


class Figures:
    """What the clients got."""

    def __init__(self, written: Mapping[str, Any], memory: Memory, *, seconds: float) -> None:
        """`written`: what a client wrote. `seconds`: how long requests were sent; the last answers may be later."""
        self.memory, self.seconds = memory, seconds
        self.outcomes: dict[str, Counter[str]] = {route: Counter(counts) for route, counts in written["outcomes"].items()}
        self.tasks: dict[str, list[int]] = written["tasks"]  # by /predict's routes: tasks with answers, tasks that were scored
        self._answer_seconds: dict[str, list[float]] = written["seconds"]

    @property
    def num_requests(self) -> int:
        """Requests of all routes."""
        return sum(counts.total() for counts in self.outcomes.values())

    @property
    def num_served(self) -> int:
        """Answers with a 2xx, and with an entry for every task."""
        return sum(count for counts in self.outcomes.values() for outcome, count in counts.items() if outcome.startswith("2"))

    @property
    def errors(self) -> Counter[str]:
        """What was neither 2xx nor 429: 5xx, lost connections, timeouts, answers that Label Studio drops."""
        every: Counter[str] = Counter()
        for counts in self.outcomes.values():
            every += counts
        return Counter({outcome: count for outcome, count in every.items() if outcome[0] != "2" and outcome != "429"})

    def milliseconds(self, route: str, share: float = 0.99) -> float:
        """That quantile of a route's answers; NaN if there were none."""
        seconds = self._answer_seconds.get(route)
        return 1000 * float(np.quantile(seconds, share)) if seconds else float("nan")

    @property
    def num_late(self) -> int:
        """Answers that were later than Label Studio waits."""
        waits = _LABEL_STUDIO_GIVES_UP.items()
        return sum(seconds > limit for route, limit in waits for seconds in self._answer_seconds.get(route, ()))

    def lines(self) -> Iterator[str]:
        """One line a route."""
        for route in (route for route in ROUTES if route in self.outcomes):
            quantiles = "  ".join(f"p{100 * q:g} {self.milliseconds(route, q):.0f} ms" for q in (0.5, 0.95, 0.99, 1))
            yield f"  {route:22} {self.outcomes[route].total():6}  {quantiles}  {dict(self.outcomes[route])}"
        scored = ", ".join(f"{scored} of {answered} ({route})" for route, (answered, scored) in self.tasks.items())
        memory = self.memory
        yield (
            f"  {self.num_served / self.seconds:.0f} requests/s served, {self.errors.total()} errors, {self.num_late} too late; "
            f"answered tasks that were scored: {scored}; {memory.before >> 20} MiB before, {memory.most >> 20} at most, "
            f"{memory.after >> 20} after; {memory.num_processes} processes at most"
        )


def run(console: Console) -> list[Row]:
    """Ours and theirs, first without webhooks, then with a burst of them."""
    console.print(f"load: {os.cpu_count()} cores for server and clients together")
    calm, burst = Load(_CLIENTS, _SECONDS), Load(_CLIENTS, _SECONDS, events=_EVENTS)
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        folder = Path(scratch)
        model_dir, texts = trained(folder)
        figures: dict[tuple[str, bool], Figures] = {}
        servers = {"ours": ours(folder, model_dir), "label-studio-ml": theirs(folder, model_dir)}
        for load in (calm, burst):
            for name, server in servers.items():
                busy = os.getloadavg()[0]
                with serving(server, model_dir) as url:
                    measured = drive(url, server, load, texts=texts, most_bytes=_MOST_BYTES)
                figures[name, bool(load.events)] = measured
                what = f"{_CLIENTS} clients{', a burst of webhooks' if load.events else ''}, {busy:.1f} processes ran before"
                console.print(f"load: {name}, {what}")
                console.print("\n".join(measured.lines()), highlight=False, markup=False, soft_wrap=True)
        console.print("load: the largest bodies that are allowed")
        largest = largest_bodies.run(console, folder, model_dir, texts)
    beside = [(figures["ours", has_events], figures["label-studio-ml", has_events], has_events) for has_events in (False, True)]
    return [row for each in beside for row in _rows(*each)] + largest


def _rows(ours: Figures, theirs: Figures, has_events: bool) -> list[Row]:
    beside = "label-studio-ml"
    what = f"{_CLIENTS} clients" + (f", {_EVENTS} webhook events" if has_events else "")
    growth = [(figures.memory.most - figures.memory.before) / 2**20 for figures in (ours, theirs)]
    rows = [
        Row(f"{what}: served", ours.num_served / ours.seconds, "requests/s", theirs.num_served / theirs.seconds, beside),
        Row(f"{what}: errors", ours.errors.total(), "", theirs.errors.total(), beside),
        Row(f"{what}: later than Label Studio waits", ours.num_late, "", theirs.num_late, beside),
        Row(f"{what}: memory at most, above before", growth[0], "MiB", growth[1], beside),
    ]
    routes = [route for route in ROUTES if route in ours.outcomes]
    bars = {} if has_events else {"/predict, more": Bar(1)}
    p99 = [Row(f"{what}: {r}, p99", ours.milliseconds(r), "ms", theirs.milliseconds(r), beside, bar=bars.get(r)) for r in routes]
    return [*rows, *p99]


def drive(url: str, server: Process, load: Load, *, texts: Path, most_bytes: int) -> Figures:
    """What the clients got from the running server; it is killed as soon as it takes more than `most_bytes`."""
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        path = Path(scratch) / "figures.json"
        options = {
            "users": load.clients, "spawn-rate": load.clients / 4, "run-time": f"{load.seconds:g}s", "stop-timeout": 100,
            "figures": path, "texts": texts, "project": PROJECT, "pause": load.pause, "events": load.events,
            "burst-at": load.burst_at, "most-tasks": load.most_tasks, "created": load.created, "importers": load.importers,
        }  # fmt: skip
        command = [
            str(PYTHON), "-m", "locust", "--headless", "--only-summary", "--loglevel", "WARNING",
            "--locustfile", str(REPOSITORY / "benchmarks" / "clients.py"), "--host", url,
            *(text for name, value in options.items() for text in (f"--{name}", str(value))),
        ]  # fmt: skip
        with _watching(server.pid, most_bytes) as sizes_and_counts:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=load.seconds + 300)
        if not path.exists():
            raise RuntimeError(f"the clients failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        sizes, counts = [size for size, _ in sizes_and_counts], [count for _, count in sizes_and_counts]
        memory = Memory(sizes[0], max(sizes), sizes[-1], max(counts))
        return Figures(json.loads(path.read_text(encoding="utf-8")), memory, seconds=load.seconds)


@contextmanager
def _watching(pid: int, most_bytes: int) -> Iterator[list[tuple[int, int]]]:
    """(bytes resident, processes) of a process and all below it, five times a second, for the time of the `with`."""
    measured = [_size(pid)]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            size = _size(pid)
            if size[1]:
                measured.append(size)
            if size[0] > most_bytes:
                os.killpg(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield measured
    finally:
        stop.set()
        thread.join()


def _size(pid: int) -> tuple[int, int]:
    sizes = []
    with suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
    return sum(sizes), len(sizes)
