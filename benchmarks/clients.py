"""What locust's clients do: the calls of label-studio 1.23.2, as its annotators, its Data Manager and its imports cause them.

    python -m locust --headless --locustfile benchmarks/clients.py --host URL --users 200 --figures FILE ...

benchmarks/load.py starts it; locust patches the process that imports it, so that nothing else may. Every request has a
connection of its own, as Label Studio's have.
"""

import json
import math
import random
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, cast

from locust import FastHttpUser, events, task

_CALLS = json.loads(
    (Path(__file__).parent.parent / "tests" / "data" / "label_studio_1.23.2_calls.json").read_text(encoding="utf-8")
)
_LABEL_CONFIG = (Path(__file__).parent.parent / "label_config.xml").read_text(encoding="utf-8")
_HEADERS = {"Content-Type": "application/json", "Connection": "close"}
_NUM_BULK_BODIES = 40


class _Caller(FastHttpUser):
    """Sends one call and counts the answer. What all clients share, `prepare` sets."""

    abstract = True
    connection_timeout = network_timeout = 100.0  # Label Studio's for /predict
    options: Any
    bodies: "Bodies"
    figures: "ClientFigures"
    events_remaining: ClassVar[int]

    def call(self, route: str, path: str, body: bytes | None = None, *, tasks: tuple[int, int] | None = None) -> None:
        started, client = time.monotonic(), cast(Any, self.client)
        method = "GET" if body is None else "POST"
        with client.request(method, path, data=body, headers=_HEADERS, name=route, catch_response=True) as answer:
            seconds = time.monotonic() - started
            outcome = str(answer.status_code) if answer.status_code else type(answer.error).__name__
            if tasks is not None and answer.status_code == 200:
                results = answer.json()["results"]
                outcome = outcome if len(results) == tasks[0] else "results dropped"
                self.figures.count_tasks(route, tasks[1], sum(bool(each) for each in results))
            self.figures.count(route, seconds, outcome)
            answer.success()  # locust's own report is not used


class Client(_Caller):
    """An annotator who opens tasks, judges them, and now and then retrieves predictions for many."""

    are_first_calls_due: ClassVar[bool] = True

    def on_start(self) -> None:
        """The first one makes every call once, which those few seconds may not come to that a busy machine has for a test."""
        if Client.are_first_calls_due:
            Client.are_first_calls_due = False
            self.retrieve()
            self.open_task()
            self.submit()

    def wait_time(self) -> float:
        return random.uniform(0.5, 1.5) * float(self.options.pause)  # noqa: S311

    @task(20)
    def open_task(self) -> None:
        """What the label stream does, at once: /health, /setup, /predict."""
        self.call("/health", "/health")
        self.call("/setup", "/setup", self.bodies.setup)
        body, size, num_answered = self.bodies.one()
        self.call("/predict, 1 task", "/predict", body, tasks=(size, num_answered))

    @task(10)
    def submit(self) -> None:
        if self.options.events:
            self.call("/webhook", "/webhook", self.bodies.annotation)

    @task(1)
    def retrieve(self) -> None:
        if self.options.most_tasks > 1:
            self.call("/health", "/health")
            body, size, num_answered = self.bodies.bulk()
            self.call("/predict, more", "/predict", body, tasks=(size, num_answered))


class Importer(_Caller):
    """Sends its share of a burst of events, each as soon as the one before is answered; the last one is an import."""

    fixed_count = 1

    def wait_time(self) -> float:
        return 0.1

    @task
    def burst(self) -> None:
        if time.monotonic() - self.figures.started < self.options.burst_at:
            return
        while _Caller.events_remaining > 0:
            _Caller.events_remaining -= 1
            if _Caller.events_remaining == 0:
                self.call("/webhook, an import", "/webhook", self.bodies.created)
            else:
                is_training = _Caller.events_remaining % 100 == 0
                self.call("/webhook", "/webhook", self.bodies.training if is_training else self.bodies.annotation)


def add_options(parser: ArgumentParser, **_: Any) -> None:
    parser.add_argument("--project", type=int, default=1)
    parser.add_argument("--texts", help="JSON: lists of prompt, answer, answer; they are sent as they are, and changed")
    parser.add_argument("--figures", help="where the figures are written at the end, as JSON")
    parser.add_argument("--most-tasks", type=int, default=500, help="of one /predict")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two turns of a client, on average")
    parser.add_argument("--events", type=int, default=0, help="webhook events of a burst; 0: no webhooks at all")
    parser.add_argument("--burst-at", type=float, default=5.0, help="seconds until the burst")
    parser.add_argument("--importers", type=int, default=10, help="clients that send the burst, and nothing else")
    parser.add_argument("--created", type=int, default=5000, help="tasks that the burst's import names")


def prepare(environment: Any, **_: Any) -> None:
    """Builds the long bodies once: the clients share the machine with the server that is measured."""
    options = environment.parsed_options
    _Caller.options, _Caller.bodies, _Caller.figures = options, Bodies(options), ClientFigures()
    _Caller.events_remaining, Importer.fixed_count = options.events, options.importers
    environment.user_classes = [Client, Importer] if options.events else [Client]


def report(environment: Any, **_: Any) -> None:
    Path(environment.parsed_options.figures).write_text(json.dumps(vars(_Caller.figures)), encoding="utf-8")


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(prepare)
events.quitting.add_listener(report)


class Bodies:
    """Request bodies. A third of the tasks has answers that were scored before, a third new ones, a third none."""

    def __init__(self, options: Any) -> None:
        self._options, self._number = options, 0
        self._texts: list[list[str]] = json.loads(Path(options.texts).read_text(encoding="utf-8"))
        self._task = _CALLS["predict"]["tasks"][0]
        self._random = random.Random(0)  # noqa: S311
        self.setup = self._encode({**_CALLS["setup"], "project": f"{options.project}.1", "schema": _LABEL_CONFIG})
        project = {**_CALLS["ANNOTATION_CREATED"]["project"], "id": options.project}
        self.annotation = self._encode({**_CALLS["ANNOTATION_CREATED"], "project": project})
        self.training = self._encode({**_CALLS["START_TRAINING"], "project": project})
        created = [self._new_task(answered=False) for _ in range(options.created)]
        self.created = self._encode({"action": "TASKS_CREATED", "tasks": created, "project": project})
        most = math.log(options.most_tasks)
        sizes = [round(math.exp(self._random.uniform(math.log(2), most))) for _ in range(_NUM_BULK_BODIES - 1)]
        self._bulk = [self._predict(size) for size in [*sizes, options.most_tasks]] if options.most_tasks > 1 else []

    def one(self) -> tuple[bytes, int, int]:
        """A /predict for one task: its body, its number of tasks, and of those with answers."""
        return self._predict(1)

    def bulk(self) -> tuple[bytes, int, int]:
        """The same for 2 to --most-tasks tasks, small ones as likely as large ones (log-uniform)."""
        return self._random.choice(self._bulk)

    def _predict(self, size: int) -> tuple[bytes, int, int]:
        tasks = [self._new_task(answered=self._random.random() < 2 / 3) for _ in range(size)]
        body = {**_CALLS["predict"], "tasks": tasks, "project": f"{self._options.project}.1", "label_config": _LABEL_CONFIG}
        return self._encode(body), size, sum(bool(each["data"]["answer1"]) for each in tasks)

    def _new_task(self, *, answered: bool) -> dict[str, Any]:
        self._number += 1
        prompt, answer1, answer2 = self._random.choice(self._texts)
        if answered and self._random.random() < 0.5:
            prompt = f"{prompt} ({time.time_ns()}, {self._number})"
        if not answered:
            answer1 = answer2 = ""
        data = {"prompt": prompt, "answer1": answer1, "answer2": answer2}
        return {**self._task, "id": self._number, "project": self._options.project, "data": data}

    @staticmethod
    def _encode(body: dict[str, Any]) -> bytes:
        return json.dumps(body).encode()


class ClientFigures:
    """Seconds and outcomes of every answer, by route."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.seconds: dict[str, list[float]] = {}
        self.outcomes: dict[str, Counter[str]] = {}
        self.tasks: dict[str, list[int]] = {}  # of a /predict route: tasks with answers, and tasks that were scored

    def count(self, route: str, seconds: float, outcome: str) -> None:
        """Outcomes: an HTTP status, or what went wrong."""
        self.seconds.setdefault(route, []).append(seconds)
        self.outcomes.setdefault(route, Counter())[outcome] += 1

    def count_tasks(self, route: str, num_answered: int, num_scored: int) -> None:
        counts = self.tasks.setdefault(route, [0, 0])
        counts[0] += num_answered
        counts[1] += num_scored
