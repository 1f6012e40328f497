"""What a task that is filled and scored costs a real Label Studio: requests and CPU time, beside `import` and another checkout.

    BASELINE=/path/to/a/checkout make bench ONLY=light

Each checkout serves, in its own environment, a champion over the embedded model that it trained itself, with the echo engine.
All that Label Studio logs of the project meanwhile counts, but for what this file asks.
"""

import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
from rich.console import Console

from benchmarks.row import Bar, Row
from demo.process import Process, wait_until
from demo.stack import REPOSITORY, Stack, free_port
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

_NUM_TASKS = 120
_QUIET_SECONDS = 3.0
_REQUEST = re.compile(r'"(GET|POST|PATCH|PUT|DELETE) (/api/[^ ?"]*)')
_LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
_SETTINGS = {"GENERATOR_ENGINE": "echo", "MAX_NEW_TOKENS": "48", "TORCH_THREADS": "1", "FILL_EVERY_SECONDS": "600"}
_TRAIN = """
import sys
from pathlib import Path
from benchmarks import servers
servers.PROJECT = int(sys.argv[2])
servers.trained(Path(sys.argv[1]))
"""


def run(console: Console) -> list[Row]:
    """Requests and CPU milliseconds a task, beside BASELINE's and those of an import."""
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        stack = Stack(Path(scratch), label_studio_port=free_port(), backend_port=free_port(), settings=_SETTINGS)
        with stack:
            stack.start_label_studio()
            checkouts = [REPOSITORY, *map(Path, filter(None, [os.environ.get("BASELINE")]))]
            served = [_Served(stack, checkout, number) for number, checkout in enumerate(checkouts)]
            filled = [each.fill(console) for each in served]
            imported = served[0].bring_in(console)
    others = filled[1] if len(filled) > 1 else (None, None)
    name = "a task that is filled and scored: Label Studio's"
    return [
        Row(f"{name} requests", filled[0][0], "", others[0], "BASELINE", bar=Bar(1.3, "value")),
        Row(f"{name} time", filled[0][1], "cpu-ms", others[1], "BASELINE"),
        Row(f"{name} time", filled[0][1], "cpu-ms", imported[1], "import"),
    ]


class _Served:
    """A checkout with a MODEL_DIR and a project of its own."""

    def __init__(self, stack: Stack, checkout: Path, number: int) -> None:
        self._stack, self._checkout, self._programs = stack, checkout, checkout / ".venv" / "bin"
        folder = stack.folder / f"checkout-{number}"
        folder.mkdir()
        self._environ = {
            **stack.environ,
            "MODEL_DIR": str(folder / "models"),
            "PYTHONPATH": str(checkout),
            "OMP_NUM_THREADS": "1",
        }
        self._project = self._new_project()
        self._run("python", "-c", _TRAIN, str(folder), str(self._project.id))

    def fill(self, console: Console) -> tuple[float, float]:
        """(requests, CPU milliseconds of Label Studio) of a task."""
        command = [str(self._programs / "pairloop-backend"), "serve"]
        server = replace(self._stack.backend, command=command, environ=self._environ)
        server.start()
        try:
            server.wait_until_up(timeout_seconds=120)
            self._run("pairloop-backend", "connect", "--project", str(self._project.id))
            self._fill(server, 2)  # the version is loaded
            with self._counting(console, "filled") as figures:
                self._fill(server, _NUM_TASKS)
                figures[0] -= 1  # the import
        finally:
            server.stop()
        return figures[0] / _NUM_TASKS, figures[1] / _NUM_TASKS

    def bring_in(self, console: Console) -> tuple[float, float]:
        """The same of a task that `import` brings, answered and scored, into the same project."""
        path = self._stack.folder / "prompts.txt"
        path.write_text("\n".join(f"Prompt number {i}: is it so?" for i in range(_NUM_TASKS)), encoding="utf-8")
        with self._counting(console, "imported") as figures:
            self._run("pairloop-backend", "import", "--project", str(self._project.id), str(path))
        return figures[0] / _NUM_TASKS, figures[1] / _NUM_TASKS

    def _fill(self, server: Process, count: int) -> None:
        """Returns when that many more tasks are answered and scored, and nothing was asked of Label Studio for a while."""
        prompts = [f"{count} things, number {i}: what are they?" for i in range(count)]
        tasks: list[Task] = [{"data": {"prompt": prompt, "answer1": "", "answer2": ""}} for prompt in prompts]
        target = self._num_scored() + count
        self._project.import_tasks(tasks)
        wait_until(
            lambda: self._num_scored() >= target, timeout_seconds=600, what="scores", check=server.check, every_seconds=0.5
        )
        self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        num_before, quiet_since = -1, time.monotonic()
        while time.monotonic() < quiet_since + _QUIET_SECONDS:
            if (num_now := len(self._requests())) != num_before:
                num_before, quiet_since = num_now, time.monotonic()
            time.sleep(0.2)

    @contextmanager
    def _counting(self, console: Console, what: str) -> Iterator[list[float]]:
        """[requests, CPU milliseconds of Label Studio] in all, after the `with`, added to what stands there."""
        figures, before, cpu_before = [0.0, 0.0], self._requests(), self._label_studio_seconds()
        yield figures
        figures[1] += 1000 * (self._label_studio_seconds() - cpu_before)
        new = self._requests()[len(before) :]
        figures[0] += len(new)
        counts = Counter(re.sub(r"/\d+", "/N", request) for request in new)
        console.print(
            f"requests: {self._checkout.name}, {_NUM_TASKS} {what}: " + ", ".join(f"{n} {r}" for r, n in counts.most_common())
        )

    def _requests(self) -> list[str]:
        """ "GET /api/tasks/" and the like, in order. Label Studio logs each one twice, with its time and its whole address."""
        text = self._stack.label_studio.log.read_text(encoding="utf-8", errors="replace")
        lines = dict.fromkeys(line for line in text.splitlines() if _REQUEST.search(line))
        return [" ".join(found.groups()) for line in lines if (found := _REQUEST.search(line))]

    def _num_scored(self) -> float:
        text = httpx.get(f"{self._stack.backend_url}/metrics", timeout=30).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("pairloop_predictions_stored_total"))

    def _label_studio_seconds(self) -> float:
        process = psutil.Process(self._stack.label_studio.pid)
        return sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])

    def _new_project(self) -> LabelStudioProject:
        settings = Settings.from_environ(self._environ)
        return Account(settings.studio).create_project(title=f"Filled by {self._checkout.name}", label_config=_LABEL_CONFIG)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, env=self._environ, cwd=self._checkout, check=True, capture_output=True)
