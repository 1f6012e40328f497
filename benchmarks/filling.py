"""How fast prompts become tasks with two answers in a real Label Studio, beside what bounds it and what one would do else."""

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from backend.connecting.connect import connect
from backend.generators.echo import EchoGenerator
from benchmarks.generation import mixed_prompts
from benchmarks.row import Row
from demo.process import wait_until
from demo.stack import PROGRAMS, REPOSITORY, Stack, free_port
from preference.generation.jobs import write_all
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task
from tests.support.statuses import filling_of

_NUM_TASKS, _NUM_EMBEDDED, _NUM_PATCHED = 500, 200, 60
_FEW, _MANY = 1_000, 20_000
_LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
_SETTINGS = {"GENERATOR_ENGINE": "echo", "MAX_NEW_TOKENS": "48", "TORCH_THREADS": "1", "FILL_EVERY_SECONDS": "5"}


def run(console: Console) -> list[Row]:
    """The filling rows of docs/benchmarks.md."""
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as folder:
        stack = Stack(Path(folder), label_studio_port=free_port(), backend_port=free_port(), settings=_SETTINGS)
        with stack:
            stack.start_label_studio()
            stack.backend.start()
            stack.backend.wait_until_up(timeout_seconds=120)
            bench = _Bench(stack, console)
            rows = [*bench.echo(), *bench.imports()]
            rows += bench.embedded()
    return [*rows, _memory(console)]


class _Bench:
    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack, self._console = stack, console
        self._settings = Settings.from_environ(stack.environ)
        self._layout = LabelingLayout.from_label_config(_LABEL_CONFIG)

    def echo(self) -> list[Row]:
        """Filling with the echo engine, beside bare PATCHes at their best."""
        bare = self._project("PATCHes")
        patched = [(n, self._patch_rate(bare, n)) for n in (1, 2, 4, 8)]
        seconds = self._fill(self._connected("Echo"), _NUM_TASKS)
        patched += [(n, self._patch_rate(bare, n)) for n in (2, 4, 8)]
        self._console.print("PATCH only: " + ", ".join(f"{rate:.1f}/s from {n}" for n, rate in patched))
        best = max(rate for _, rate in patched)
        return [Row(f"filling {_NUM_TASKS} tasks, echo engine", _NUM_TASKS / seconds, "tasks/s", best, "PATCH only, at best")]

    def imports(self) -> list[Row]:
        """`pairloop-backend import`, beside importing prompts and Label Studio's own "Retrieve predictions"."""
        prompts = [f"Prompt number {i}: what should one know about it?" for i in range(_NUM_TASKS)]
        tasks = [self._task(prompt) for prompt in prompts]
        with _usual_backend(self._layout) as url:
            usual = self._project("Retrieve predictions")
            usual.connections.add(url, title="usual", basic_auth=None)
            started = time.monotonic()
            usual.import_tasks(tasks)
            body = {"selectedItems": {"all": True, "excluded": []}}
            self._post(f"/api/dm/actions?id=retrieve_tasks_predictions&project={usual.id}", body)
            theirs = time.monotonic() - started
        path = self._stack.folder / "prompts.txt"
        path.write_text("\n".join(prompts), encoding="utf-8")
        ours = self._project("Import")
        command = [str(PROGRAMS / "pairloop-backend"), "import", "--project", str(ours.id), str(path)]
        started = time.monotonic()
        printed = subprocess.run(command, env=self._stack.environ, check=True, capture_output=True, text=True).stdout
        whole = time.monotonic() - started
        assert f"{_NUM_TASKS} imported" in printed and ours.num_unanswered(self._layout) == 0
        started = time.monotonic()
        subprocess.run(command, env=self._stack.environ, check=True, capture_output=True)  # all are skipped
        idle = time.monotonic() - started
        name, beside = f"{_NUM_TASKS} prompts through import", "import, then Retrieve predictions"
        return [
            Row(f"{name}, the whole command", _NUM_TASKS / whole, "tasks/s", _NUM_TASKS / theirs, beside),
            Row(f"{name}, without the {idle:.1f} s of a command that skips all", _NUM_TASKS / max(whole - idle, 0.1), "tasks/s",
                _NUM_TASKS / theirs, beside),
        ]  # fmt: skip

    def embedded(self) -> list[Row]:
        """The embedded model at work in the backend: how much of the time it computes, and how /health fares."""
        stack = self._stack
        stack.backend.stop()
        stack.backend.environ = {**stack.environ, "GENERATOR_ENGINE": "huggingface"}
        converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
        converted.mkdir(parents=True, exist_ok=True)
        (stack.model_dir / "embedded").symlink_to(converted)
        stack.backend.start()
        stack.backend.wait_until_up(timeout_seconds=120)
        project = self._connected("Embedded")
        self._fill(project, 2)  # loads it
        before = self._generating_seconds()
        with _polling(f"{stack.backend_url}/health") as latencies:
            seconds = self._fill(project, _NUM_EMBEDDED)
        share = (self._generating_seconds() - before) / seconds
        filled = project.tasks([task["id"] for task in project.all_tasks()])
        assert all(None not in self._layout.answers(task["data"]) for task in filled.values())
        ranked = sorted(latencies)
        p99 = 1000 * ranked[int(0.99 * (len(ranked) - 1))]
        self._console.print(
            f"/health: {len(ranked)} requests, median {1000 * statistics.median(ranked):.1f} ms, p99 {p99:.1f} ms"
        )
        return [
            Row(f"filling {_NUM_EMBEDDED} tasks, embedded model", _NUM_EMBEDDED / seconds, "tasks/s"),
            Row("share of that time in which the generator computes", share, ""),
            Row("/health, p99 meanwhile", p99, "ms"),
        ]

    # Steps

    def _project(self, title: str) -> LabelStudioProject:
        return Account(self._settings.studio).create_project(title=title, label_config=_LABEL_CONFIG)

    def _connected(self, title: str) -> LabelStudioProject:
        project = self._project(title)
        list(connect(project, ProjectFolder(self._settings.model_dir, project.id), self._settings))
        return project

    def _task(self, prompt: str) -> Task:
        return {"data": {"prompt": prompt, "answer1": "", "answer2": ""}}

    def _fill(self, project: LabelStudioProject, count: int) -> float:
        """Seconds from the import of that many prompts until the backend has stored answers for all."""
        folder = ProjectFolder(self._settings.model_dir, project.id)
        prompts = (mixed_prompts(100) * count)[:count]
        started = time.time()
        project.import_tasks([self._task(f"{prompt} ({i})") for i, prompt in enumerate(prompts)])

        def is_done() -> bool:
            progress = filling_of(folder)
            return progress.get("at", 0) > started and not progress["is_filling"] and progress["tasks_answered"] >= count

        wait_until(is_done, timeout_seconds=900, what="every task to be answered", check=self._stack.backend.check)
        return float(filling_of(folder)["at"]) - started

    def _patch_rate(self, project: LabelStudioProject, connections: int) -> float:
        ids = project.import_tasks([self._task(f"Prompt {i}") for i in range(_NUM_PATCHED)])
        answer = "Echo 0123456789abcdef of: a prompt of some forty characters"
        body = {
            "data": {"prompt": "Prompt", "answer1": answer, "answer2": answer},
            "meta": {"pairloop": {"generator": "echo", "sampling": {}, "seed": 1, "left_sample": 0, "right_sample": 1}},
        }
        with httpx.Client(headers=self._auth, timeout=60) as client, ThreadPoolExecutor(connections) as pool:
            started = time.monotonic()
            for answered in pool.map(lambda i: client.patch(f"{self._stack.url}/api/tasks/{i}/", json=body), ids):
                answered.raise_for_status()
        return len(ids) / (time.monotonic() - started)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        httpx.post(self._stack.url + path, json=body, headers=self._auth, timeout=300).raise_for_status()

    @property
    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Token {self._stack.token}"}

    def _generating_seconds(self) -> float:
        text = httpx.get(f"{self._stack.backend_url}/metrics", timeout=10).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("pairloop_generating_seconds_total"))


@contextmanager
def _usual_backend(layout: LabelingLayout) -> Iterator[str]:
    """A backend as tutorials write it: it generates inside /predict and answers for all tasks at once."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer({"status": "UP"})

        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            if self.path != "/predict":
                self._answer({"model_version": "usual"})
                return
            prompts = [task["data"]["prompt"] for task in given["tasks"]]
            written = write_all(EchoGenerator(), prompts, seeds=range(len(prompts)))
            side = {
                "from_name": layout.control,
                "to_name": layout.answer_tags[0],
                "type": "pairwise",
                "value": {"selected": "left"},
            }
            results = [{"result": [side], "score": 0.5, "model_version": "usual", "answers": w.answers} for w in written]
            self._answer({"results": results})

        def _answer(self, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _polling(url: str) -> Iterator[list[float]]:
    """Seconds of each answer, of twenty requests a second for the time of the `with`."""
    seconds: list[float] = []
    stop = threading.Event()

    def poll() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.wait(0.05):
                started = time.monotonic()
                client.get(url).raise_for_status()
                seconds.append(time.monotonic() - started)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def _memory(console: Console) -> Row:
    """How much `pairloop-backend fill` grows between its first thousand tasks and its twenty thousandth, on a double."""
    from tests.support.studio_double import KEY, StudioDouble

    with StudioDouble() as studio, tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        project_id = studio.add_project()
        studio.add_tasks(project_id, *({"prompt": f"Prompt {i}", "answer1": "", "answer2": ""} for i in range(_MANY)))
        environ = {
            **os.environ, "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": scratch,
            "GENERATOR_ENGINE": "echo", "STORING_CONNECTIONS": "32",
        }  # fmt: skip
        command = [str(PROGRAMS / "pairloop-backend"), "fill", "--project", str(project_id)]
        child = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        process, folder = psutil.Process(child.pid), ProjectFolder(Path(scratch), project_id)
        sizes: list[tuple[int, int]] = []
        while child.poll() is None:
            try:
                sizes.append((filling_of(folder).get("tasks_answered", 0), process.memory_info().rss))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.5)
    megabytes = [(answered, size / 2**20) for answered, size in sizes]
    console.print(
        "memory: " + ", ".join(f"{answered} tasks {size:.0f} MB" for answered, size in megabytes[:: len(megabytes) // 8])
    )
    at_first = max(size for answered, size in megabytes if answered <= _FEW)
    return Row(f"memory growth from {_FEW} to {_MANY} tasks", max(size for _, size in megabytes) - at_first, "MB")
