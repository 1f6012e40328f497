"""How much memory a worker takes while it is sent the largest bodies that it allows, of each kind, on all its threads at once."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from rich.console import Console

from backend.contract.request_bodies import MAX_BYTES
from backend.contract.request_memory import FREE_BYTES, MOST_BYTES, Weight
from backend.scoring.predictions import prediction_bytes
from benchmarks.row import Row
from benchmarks.servers import PROJECT, ours, serving
from demo.process import Process
from demo.stack import REPOSITORY
from preference.labelling.label_config import LabelingLayout
from preference.setting_groups import SuggestingSettings

_CLIENTS = 12  # more than a worker has threads
_CALLS = json.loads((REPOSITORY / "tests" / "data" / "label_studio_1.23.2_calls.json").read_text(encoding="utf-8"))
_TASK = _CALLS["predict"]["tasks"][0]
_VERSION = "v1-20261129-120000"  # as long as the name of the one that is served
_SHORT = '{"data":{"prompt":"a","answer1":"b","answer2":"c"}}'
_PREDICTED = ("tasks with answers", "tasks with short answers")
Bodies = Mapping[str, tuple[str, bytes]]  # what they hold, to the route and the body


@dataclass(frozen=True)
class Peak:
    """What a worker took, in bytes resident, and what became of each kind of body, by status."""

    idle: int
    most: int
    outcomes: Mapping[str, Counter[str]]


def run(console: Console, folder: Path, model_dir: Path, texts: Path) -> list[Row]:
    """The most that a worker takes, beside what it takes without requests."""
    server = ours(folder, model_dir, PREDICT_SECONDS="10")
    with serving(server, model_dir) as url:
        peak = send(url, server, largest_bodies(texts))
    for kind, statuses in peak.outcomes.items():
        console.print(f"  {kind:28} {dict(statuses)}", highlight=False)
    mib = [size / 2**20 for size in (peak.most, peak.idle)]
    return [Row("largest bodies allowed: memory at most", mib[0], "MiB", mib[1], "the idle worker")]


def send(url: str, server: Process, bodies: Bodies) -> Peak:
    """Sends each kind from all clients at once, and watches the server's one worker."""
    (worker,) = psutil.Process(server.pid).children()
    idle = worker.memory_info().rss

    def post(route: str, body: bytes) -> str:
        try:
            headers = {"Content-Type": "application/json"}
            return str(httpx.post(f"{url}{route}", content=body, headers=headers, timeout=120).status_code)
        except httpx.HTTPError as error:
            return type(error).__name__

    outcomes = {}
    with _watching(worker) as sizes, ThreadPoolExecutor(_CLIENTS) as clients:
        for kind, (route, body) in bodies.items():
            sent = [clients.submit(post, route, body) for _ in range(_CLIENTS)]
            outcomes[kind] = Counter(answer.result() for answer in sent)
    return Peak(idle, max(sizes), outcomes)


def largest_bodies(texts: Path, *, only: Collection[str] = ()) -> dict[str, tuple[str, bytes]]:
    """The longest body of each kind that is allowed, or of some. `texts`: JSON, lists of prompt, answer and answer."""
    answered = [
        {**_TASK, "project": PROJECT, "data": {"prompt": prompt, "answer1": left, "answer2": right}}
        for prompt, left, right in json.loads(texts.read_text(encoding="utf-8"))
    ]
    unanswered = [{**task, "data": {**task["data"], "answer1": "", "answer2": ""}} for task in answered]
    kinds: dict[str, tuple[str, Callable[[int], bytes]]] = {
        "empty tasks": ("/predict", lambda n: _predict(_list('{"data":{}}', n))),
        "tasks without answers": ("/predict", lambda n: _predict(_tasks(unanswered, n))),
        "tasks with answers": ("/predict", lambda n: _predict(_tasks(answered, n))),
        "tasks with short answers": ("/predict", lambda n: _predict(_list(_SHORT, n))),
        "tasks that are none": ("/predict", lambda n: _predict(_list("5", n))),
        "one text": ("/predict", lambda n: _predict(json.dumps([{"id": 1, "data": {"prompt": "word " * n}}]))),
        "one text with an emoji": (
            "/predict",
            lambda n: _predict(json.dumps([{"id": 1, "data": {"prompt": "word " * n + "🌙"}}])),
        ),
        "lists": ("/predict", lambda n: _predict("[]", _list("[]", n))),
        "objects": ("/predict", lambda n: _predict("[]", _list('{"a":1}', n))),
        "an event's lists": ("/webhook", lambda n: _event(_list("[]", n))),
        "an event's objects": ("/webhook", lambda n: _event(_list('{"a":1}', n))),
        "an event's text": ("/webhook", lambda n: _event(json.dumps("word " * n + "\ud83d"))),  # which is read twice
        "a label config's neighbour": ("/setup", lambda n: _setup(_list("[]", n))),
    }
    return {
        kind: (route, _largest(make, _prediction_bytes() if kind in _PREDICTED else 0))
        for kind, (route, make) in kinds.items()
        if not only or kind in only
    }


def _largest(make: Callable[[int], bytes], each_bytes: int) -> bytes:
    """The longest of the bodies that `make` makes, by the number of what is in them, that is not refused at once.

    `each_bytes`: what is counted for each beside the body.
    """
    few, some = (_weight(make(n)) + n * each_bytes for n in (1_000, 2_000))
    by_bytes = (MAX_BYTES - len(make(1))) * 1_000 // (len(make(2_000)) - len(make(1_000)))
    number = min(by_bytes, (FREE_BYTES + MOST_BYTES - few) * 1_000 // (some - few))
    while _weight(body := make(number)) + number * each_bytes > FREE_BYTES + MOST_BYTES or len(body) > MAX_BYTES:
        number -= 1 + number // 1_000
    return body


def _prediction_bytes() -> int:
    layout = LabelingLayout.from_label_config(_CALLS["predict"]["label_config"])
    return prediction_bytes(layout, _VERSION, suggesting=SuggestingSettings())


def _weight(body: bytes) -> int:
    weight = Weight()
    weight.add(body)
    return weight.num_bytes


def _predict(tasks: str, params: str = "null") -> bytes:
    start = json.dumps({"project": f"{PROJECT}.1", "label_config": _CALLS["predict"]["label_config"]})
    return f'{start[:-1]}, "tasks": {tasks}, "params": {params}}}'.encode()


def _setup(extra: str) -> bytes:
    start = json.dumps({"project": f"{PROJECT}.1", "schema": _CALLS["setup"]["schema"]})
    return f'{start[:-1]}, "extra_params": {extra}}}'.encode()


def _event(payload: str) -> bytes:
    return f'{{"action": "TASKS_CREATED", "tasks": {payload}, "project": {{"id": {PROJECT}}}}}'.encode()


def _list(value: str, number: int) -> str:
    return f"[{','.join([value] * number)}]"


def _tasks(tasks: list[dict[str, object]], number: int) -> str:
    texts = [json.dumps(task) for task in tasks]
    return f"[{','.join(texts[i % len(texts)] for i in range(number))}]"


@contextmanager
def _watching(worker: psutil.Process) -> Iterator[list[int]]:
    """The worker's bytes resident, twenty times a second, for the time of the `with`."""
    sizes, stop = [worker.memory_info().rss], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            sizes.append(worker.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        stop.set()
        thread.join()
