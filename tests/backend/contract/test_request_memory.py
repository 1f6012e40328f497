"""What requests may take of a process's memory: what they count as, what is refused, and what people read then."""

import json
import threading
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.test import EnvironBuilder, run_wsgi_app

from backend.contract.request_memory import FREE_BYTES, MOST_BYTES, RequestMemory, Weight
from backend.serving.process import Backend
from backend.web.app import create_app
from tests.conftest import SettingsFactory
from tests.support.app_house import assert_refused, promote
from tests.support.studio_double import CALLS

TASK = CALLS["predict"]["tasks"][0]
TOO_MUCH = "To read this request would take more than 8 MB of memory; send fewer tasks at a time."
TAKEN = "Other requests take the 8 MB of memory that a worker has for them; send fewer tasks at a time, or try again."


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))


@pytest.fixture
def memory() -> RequestMemory:
    return RequestMemory(8 * 2**20)


@pytest.fixture
def app(backend: Backend, memory: RequestMemory) -> Flask:
    return create_app(backend, memory=memory)


def text_of(text: str, *, is_ascii: bool = True) -> bytes:
    """A /predict of a task whose answers are that text."""
    return predict_of(json.dumps([{"data": {"answer1": text, "answer2": text[:9]}}], ensure_ascii=is_ascii))


def predict_of(tasks: str, params: str = "null") -> bytes:
    """A /predict with these tasks and parameters, as JSON that is put together by hand."""
    start = json.dumps({key: CALLS["predict"][key] for key in ("project", "label_config")})
    return f'{start[:-1]}, "tasks": {tasks}, "params": {params}}}'.encode()


def many(value: str, number: int) -> str:
    return f"[{','.join([value] * number)}]"


def weight_of(body: bytes) -> int:
    weight = Weight()
    weight.add(body)
    return weight.num_bytes


def post(app: Flask, body: bytes, route: str = "/predict", **environ: Any) -> tuple[str, bytes, BytesIO]:
    """The status, the answer, and the body as far as it was not read."""
    stream = BytesIO(body)
    builder = EnvironBuilder(route, method="POST", input_stream=stream, content_type="application/json")
    length = {} if "wsgi.input_terminated" in environ else {"CONTENT_LENGTH": str(len(body))}
    pieces, status, _ = run_wsgi_app(app, {**builder.get_environ(), **length, **environ}, buffered=True)
    return status, b"".join(pieces), stream


BODIES: dict[str, Callable[[int], bytes]] = {
    "empty tasks": lambda n: predict_of(many('{"data":{}}', n)),
    "tasks with an id": lambda n: predict_of(many('{"id":1,"data":{"a":"b"}}', n)),
    "tasks of Label Studio": lambda n: predict_of(many(json.dumps(TASK), n // 20)),
    "lists": lambda n: predict_of("[]", many("[]", n)),
    "lists in lists": lambda n: predict_of("[]", many("[[[]]]", n)),
    "objects": lambda n: predict_of("[]", many("{}", n)),
    "objects with an entry": lambda n: predict_of("[]", many('{"a":1}', n)),
    "numbers": lambda n: predict_of("[]", many("0.5", n)),
    "words": lambda n: predict_of("[]", many('"ab"', n)),
    "keys": lambda n: predict_of("[]", json.dumps({str(i): 0.5 for i in range(n)}, separators=(",", ":"))),
    "data of many keys": lambda n: predict_of(json.dumps([{"data": {str(i): 0.5 for i in range(n)}}], separators=(",", ":"))),
    "a text": lambda n: text_of("word " * 4 * n),
    "a text with an accent": lambda n: text_of("word " * 4 * n + "ż"),
    "a text with an emoji": lambda n: text_of("word " * 4 * n + "🌙"),
    "a text with half an emoji": lambda n: text_of("word " * 4 * n + "🌙\ud83d"),
    "a text with an accent as it is": lambda n: text_of("word " * 4 * n + "ż\n", is_ascii=False),
    "a text with an emoji as it is": lambda n: text_of("word " * 4 * n + "🌙\n", is_ascii=False),
}


REFUSED: dict[str, Callable[[int], bytes]] = {
    "tasks that are none": lambda n: predict_of(many("5", n)),
    "tasks whose fields are none": lambda n: predict_of(many('{"id":"x","data":[]}', n)),
}


@pytest.mark.parametrize("kind", [*BODIES, *REFUSED])
def test_no_body_takes_more_than_it_counts_as(backend: Backend, kind: str) -> None:
    app, make = create_app(backend), {**BODIES, **REFUSED}[kind]
    body = make(10_000)
    post(app, make(10))  # what is made once

    status, num_bytes = traced(app, body)

    assert status[:3] == ("200" if kind in BODIES else "400")
    assert num_bytes < weight_of(body) + 300_000, "beside what any request takes"


def traced(app: Flask, body: bytes) -> tuple[str, int]:
    """The status, and the most memory that the request took."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        status, _, _ = post(app, body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return status, most - before


class WatchedMemory(RequestMemory):
    """One that keeps the most that was taken of it."""

    most_taken = 0

    def exchange(self, held: int, wanted: int) -> bool:
        self.most_taken = max(self.most_taken, wanted)
        return super().exchange(held, wanted)


@pytest.mark.parametrize("name", ["comparison", "comparison" * 100])
def test_no_predictions_take_more_than_they_count_as(backend: Backend, tiny_base: Path, name: str) -> None:
    """They name the tags of a label config that may hold anything."""
    promote(backend, tiny_base)
    config = CALLS["predict"]["label_config"].replace('"comparison"', f'"{name}"')
    task = '{"data":{"prompt":"a","answer1":"b","answer2":"c"}}'
    memory = WatchedMemory()
    app = create_app(backend, memory=memory)

    def body_of(number: int) -> bytes:
        return json.dumps({**CALLS["predict"], "label_config": config, "tasks": [json.loads(task)] * number}).encode()

    post(app, body_of(10))  # what is made once
    body = body_of(2_000)
    status, num_bytes = traced(app, body)

    assert status == "200 OK"
    assert weight_of(body) < memory.most_taken + FREE_BYTES
    assert num_bytes < memory.most_taken + FREE_BYTES + 300_000, "beside what any request takes"


def test_predictions_that_would_take_more_than_there_is_are_refused_before_there_are_any(
    backend: Backend, app: Flask, tiny_base: Path
) -> None:
    body = predict_of(many('{"data":{"prompt":"a","answer1":"b","answer2":"c"}}', 3_000))
    assert post(app, body)[0] == "200 OK"
    promote(backend, tiny_base)

    assert post(app, body)[0] == f"413 {TOO_MUCH}"
    assert post(app, predict_of(many('{"data":{"prompt":"","answer1":"","answer2":""}}', 3_000)))[0] == "200 OK"


def test_a_body_counts_the_same_in_whatever_pieces_it_comes() -> None:
    for make in BODIES.values():
        body, weight = make(20), Weight()
        for start in range(len(body)):
            weight.add(body[start : start + 1])
        assert weight.num_bytes == weight_of(body)


@pytest.mark.parametrize("route", ["/predict", "/webhook", "/setup"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_would_take_more_than_there_is_is_refused_and_read_to_its_end(
    app: Flask, route: str, is_chunked: bool
) -> None:
    body = predict_of(many('{"data":{}}', 20_000))
    assert len(body) < 2**18 and weight_of(body) > FREE_BYTES + 8 * 2**20

    environ = {"wsgi.input_terminated": True} if is_chunked else {}
    status, answer, rest = post(app, body, route, **environ)

    assert (status, json.loads(answer)) == (f"413 {TOO_MUCH}", {"error": TOO_MUCH})
    assert rest.read() == b"", "Label Studio reads no answer before it has sent all"


def test_a_body_that_is_refused_keeps_nothing_from_those_that_arrive_beside_it(app: Flask, memory: RequestMemory) -> None:
    """Else many long ones that arrive together all have their parts, and none the whole."""
    body, is_free = predict_of(many('{"data":{}}', 20_000)), list[bool]()

    class Watched(BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            try:
                with memory.share() as others:
                    others.grow_to(FREE_BYTES + memory.most_bytes)
                is_free.append(True)
            except ServiceUnavailable:
                is_free.append(False)
            return super().readinto(buffer)

    builder = EnvironBuilder("/predict", method="POST", input_stream=Watched(body), content_type="application/json")
    _, status, _ = run_wsgi_app(app, {**builder.get_environ(), "CONTENT_LENGTH": str(len(body))}, buffered=True)

    assert status == f"413 {TOO_MUCH}"
    assert is_free == [True, False, False, True]


def test_beside_other_requests_a_long_one_is_refused_and_short_ones_are_not(app: Flask, memory: RequestMemory) -> None:
    long = predict_of(many('{"data":{}}', 10_000))
    assert FREE_BYTES < weight_of(long) < 8 * 2**20
    client = app.test_client()

    with memory.share() as others:
        others.grow_to(FREE_BYTES + 8 * 2**20)
        assert assert_refused(client.post("/predict", data=long, content_type="application/json"), 503) == TAKEN
        for name in CALLS:
            route = f"/{name}" if name in ("setup", "predict") else "/webhook"
            assert client.post(route, json=CALLS[name]).status_code in (200, 201)

    assert client.post("/predict", data=long, content_type="application/json").status_code == 200


@pytest.mark.parametrize(
    "body",
    [predict_of(many('{"data":{}}', 10_000)), predict_of(many('{"data":5}', 10_000)), predict_of(many("{", 10_000))],
    ids=len,
)
def test_whatever_was_answered_the_memory_is_given_back(app: Flask, memory: RequestMemory, body: bytes) -> None:
    statuses = {post(app, body)[0][:3] for _ in range(20)}

    assert statuses in ({"200"}, {"400"})
    with memory.share() as all_of_it:
        all_of_it.grow_to(FREE_BYTES + memory.most_bytes)


def test_shares_are_counted_together_by_any_number_of_threads(memory: RequestMemory) -> None:
    shares = 8
    each, refused = FREE_BYTES + memory.most_bytes // shares, list[Exception]()
    are_held, may_end = threading.Barrier(shares + 1), threading.Event()

    def hold() -> None:
        with memory.share() as share:
            for part in (3, 2, 1):
                share.grow_to(each // part)
            are_held.wait(20)
            may_end.wait(20)

    threads = [threading.Thread(target=hold, daemon=True) for _ in range(shares)]
    for thread in threads:
        thread.start()
    are_held.wait(20)
    with memory.share() as share:
        share.grow_to(FREE_BYTES)
        try:
            share.grow_to(FREE_BYTES + 1)
        except Exception as error:
            refused.append(error)
    may_end.set()
    for thread in threads:
        thread.join()

    assert [str(getattr(error, "code", error)) for error in refused] == ["503"]
    assert memory.exchange(0, memory.most_bytes)


def test_of_two_that_meet_one_gets_all(memory: RequestMemory) -> None:
    """The first that is refused has given back its part before the other asks on; else each refuses the other."""
    with memory.share() as first, memory.share() as second:
        for share in (first, second):
            share.grow_to(FREE_BYTES + memory.most_bytes // 2)
        with pytest.raises(ServiceUnavailable):
            first.grow_to(FREE_BYTES + memory.most_bytes)
        second.grow_to(FREE_BYTES + memory.most_bytes)


def test_some_thousand_tasks_of_label_studio_may_come_at_once() -> None:
    task = {
        **TASK,
        "data": {
            "prompt": "Why is that so, and since when? " * 10,
            "answer1": "It is, as far as we know. " * 30,
            "answer2": "No. " * 60,
        },
    }
    body = json.dumps({**CALLS["predict"], "tasks": [task] * 5_000}).encode()

    assert weight_of(body) < MOST_BYTES


def test_an_import_of_label_studio_is_an_event_like_any_other() -> None:
    task = {**TASK, "data": {"prompt": "Why is that so, and since when? " * 100, "answer1": "", "answer2": ""}}
    body = json.dumps({**CALLS["TASKS_CREATED"], "tasks": [task] * 5_000}).encode()

    assert weight_of(body) < MOST_BYTES


def test_a_body_that_is_larger_than_any_is_refused_before_it_is_read(app: Flask) -> None:
    status, answer, _ = post(app, b"{}", CONTENT_LENGTH=str(64 * 2**20 + 1))

    assert status == "413 The body is larger than 67,108,864 bytes, which is the most here; send fewer tasks at a time."
    assert list(json.loads(answer)) == ["error"]
