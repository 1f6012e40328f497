"""Tasks without answers that somebody opens: they are written and stored within the request."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from backend.serving.process import Backend
from backend.web.app import create_app
from tests.conftest import SettingsFactory
from tests.support.app_house import ANSWERED, predict
from tests.support.filling_house import CHOICE, EMPTY, House
from tests.support.openai_double import OpenAIDouble
from tests.support.studio_double import KEY, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG


class Opened:
    """A running backend whose filler is kept from the project, so that only /predict answers."""

    def __init__(self, house: House, backend: Backend) -> None:
        self.house, self.backend = house, backend
        self.client = create_app(backend).test_client()

    def predict(self, *task_ids: int) -> Any:
        tasks = [{"id": task_id, "data": dict(self.house.data(task_id))} for task_id in task_ids]
        body = {"tasks": tasks, "project": f"{self.house.project_id}.123", "label_config": LABEL_CONFIG}
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.get_json()["results"]

    def let_the_filler_in(self) -> None:
        self.house.studio.on_request = lambda request: None


def keep_the_filler_out(house: House) -> None:
    """Fails what a filler reads first, which a /predict does not read."""

    def refuse(request: str) -> None:
        if request == f"GET /api/projects/{house.project_id}/":
            house.studio.failures = [503]

    house.studio.on_request = refuse


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(generator_engine="echo", label_studio_api_key=KEY)
    with StudioDouble() as studio, House(studio, settings.replace(label_studio_url=studio.url)) as house:
        keep_the_filler_out(house)
        yield house


Open = Callable[..., Opened]


@pytest.fixture
def opened(house: House) -> Iterator[Open]:
    """Starts a backend, and stops it at the end; keyword arguments are settings."""
    backends: list[Backend] = []

    def start(*, is_chosen: bool = True, **changes: Any) -> Opened:
        backends.append(Backend(house.settings.replace(**changes)))
        backends[-1].start()
        if is_chosen:
            wait_until(lambda: backends[-1].filler.is_chosen)
        return Opened(house, backends[-1])

    yield start
    for backend in backends:
        backend.stop()


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    """What writes for `openai` engines, as slowly as a test wants."""
    with OpenAIDouble() as server:
        yield server


def test_a_task_that_is_opened_alone_is_answered_and_stored_within_the_request(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY, "note": 7}, meta={"batch": 1})
    page = opened()

    assert page.predict(task) == [[]]  # Label Studio's label stream would show empty boxes beside a suggestion

    assert house.is_answered(task)
    assert (house.data(task)["note"], house.studio.tasks[task]["meta"]["batch"]) == (7, 1)
    assert house.record(task)["filled"] == ["answer1", "answer2"]
    assert house.patched() == [task]
    assert b"pairloop_tasks_answered_total 1.0" in page.backend.metrics.text()


def test_it_gets_the_same_answers_that_the_filler_would_have_given(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    opened().predict(task)
    written = house.answers(task)

    house.edit(task, **EMPTY)
    house.answer()

    assert house.answers(task) == written


def test_a_process_without_the_generator_lets_the_filler_answer(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    with FileLock(house.settings.model_dir / "filler.lock"):  # another process fills
        page = opened(is_chosen=False)

        assert page.predict(task) == [[]]

        assert house.patched() == []
        assert house.folder.take_request("fill") is True


def test_a_task_that_label_studio_has_not_stored_yet_is_not_touched(house: House, opened: Open) -> None:
    page = opened()

    assert predict(page.client, [{"prompt": "Why?", **EMPTY}], project=house.project_id) == [[]]  # its id is 0

    assert house.patched() == []


def test_a_refused_key_is_logged_once_and_not_for_each_task_that_is_opened(
    house: House, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = house.add_prompts(3)
    page = opened()
    house.studio.refuses_keys = True

    assert [page.predict(task) for task in tasks] == [[[]]] * 3

    assert sum("waits for the filler: " in message for message in caplog.messages) == 1
    assert "refuses LABEL_STUDIO_API_KEY" in caplog.text and KEY not in caplog.text


def test_requests_with_several_tasks_do_not_wait_for_answers(
    house: House, opened: Open, server: OpenAIDouble, tiny_base: Path
) -> None:
    version = house.promote(tiny_base, weight=1)
    server.gate.clear()
    tasks = house.add({"prompt": "Why?", **EMPTY}, ANSWERED, {"prompt": "Why not?", **EMPTY})
    page = opened(generator_engine="openai", openai_base_url=server.url, predict_seconds=95)
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)

    results = page.predict(*tasks)

    assert [bool(result) for result in results] == [False, True, False]
    assert results[1]["model_version"] == version
    assert server.requests == [] and house.patched() == []


def test_a_task_that_is_not_answered_in_time_waits_for_the_filler(house: House, opened: Open, server: OpenAIDouble) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    server.gate.clear()
    page = opened(generator_engine="openai", openai_base_url=server.url, predict_seconds=0.1, max_similarity=1)

    assert page.predict(task) == [[]]  # while nothing can be written

    assert house.answers(task) == ("", "")
    page.let_the_filler_in()
    server.gate.set()
    wait_until(lambda: all(house.answers(task)))
    assert all(text.startswith("Why?/") for text in house.answers(task))


def test_a_label_studio_that_refuses_the_answers_costs_no_seat(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    page = opened(threads=3)  # one seat

    def refuse(request: str) -> None:
        if not request.startswith("GET /api/tasks/"):
            house.studio.failures = [400 if request.startswith("PATCH") else 503]

    house.studio.on_request = refuse
    assert page.predict(task) == [[]]
    assert house.answers(task) == ("", "")
    keep_the_filler_out(house)

    assert page.predict(task) == [[]]

    assert house.is_answered(task)


def test_a_task_that_was_judged_or_answered_meanwhile_is_not_touched(house: House, opened: Open) -> None:
    judged, answered = house.add(*[{"prompt": "Why?", **EMPTY}] * 2)
    page = opened()
    as_it_was = [{"id": task, "data": dict(house.data(task))} for task in (judged, answered)]
    house.studio.annotate(judged, CHOICE)
    house.edit(answered, answer1="Hers.", answer2="Hers too.")

    for task in as_it_was:
        assert page.backend.predict(house.project_id, LABEL_CONFIG, [task]) == [[]]

    assert house.patched() == []
    assert house.answers(answered) == ("Hers.", "Hers too.")


def test_the_pair_of_an_opened_task_is_chosen_by_the_served_models_rewards_too(
    house: House, opened: Open, tiny_base: Path
) -> None:
    house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    page = opened(num_candidates=4, pair_strategy="uncertain")
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)

    page.predict(task)

    assert house.record(task)["strategy"] == "uncertain"
    assert len(house.record(task)["rewards"]) == 4


def test_a_request_that_waits_for_an_answer_keeps_its_seat_meanwhile(
    house: House, opened: Open, server: OpenAIDouble, tiny_base: Path
) -> None:
    house.promote(tiny_base, weight=1)
    task, answered = house.add({"prompt": "Why?", **EMPTY}, ANSWERED)
    server.gate.clear()
    page = opened(generator_engine="openai", openai_base_url=server.url, max_similarity=1, threads=3)
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)
    opening = threading.Thread(target=page.predict, args=[task])
    opening.start()
    wait_until(lambda: server.num_under_way == 1)

    assert page.predict(answered) == [[]]
    assert page.client.get("/health").get_json()["status"] == "UP"
    server.gate.set()
    opening.join()

    assert all(house.answers(task))
    assert page.predict(answered) != [[]]


def test_health_says_what_the_filler_did(house: House, opened: Open) -> None:
    tasks = house.add_prompts(5)
    house.add({"prompt": "", **EMPTY})
    page = opened()
    page.let_the_filler_in()

    def filling() -> Any:
        return page.client.get("/health").get_json()["filling"].get(str(house.project_id), {})

    wait_until(lambda: filling().get("is_filling") is False)
    assert house.is_answered(*tasks)
    assert (filling()["tasks_left"], filling()["tasks_answered"]) == (0, 5)
    assert filling()["tasks_failed"] == {"prompt missing, empty or not text": 1}
    metrics = page.client.get("/metrics").text.splitlines()
    assert f'pairloop_tasks_unanswered{{project="{house.project_id}"}} 0.0' in metrics
    assert "pairloop_tasks_answered_total 5.0" in metrics
    assert "pairloop_tokens_written_total 40.0" in metrics
    unfillable = f'pairloop_tasks_unfillable{{project="{house.project_id}",reason="prompt missing, empty or not text"}} 1.0'
    wait_until(lambda: unfillable in page.client.get("/metrics").text.splitlines())
