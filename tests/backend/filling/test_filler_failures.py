import dataclasses
import logging
import threading
from pathlib import Path

import pytest

from tests.support.filling_house import ANSWERED, EMPTY, House, warnings_of

# What is logged


def test_tasks_that_cannot_be_answered_are_logged_once_with_their_reasons(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add({"prompt": "", **EMPTY}, {"prompt": {}, **EMPTY}, {"prompt": "p", "answer1": {"text": "a"}, "answer2": ""})
    skipped = house.add_prompts(2)
    house.studio.annotate(skipped[1], [], is_skip=True)
    filler = house.filler()

    house.fill(filler)
    house.fill(filler)

    assert house.is_answered(skipped[0]) and house.answers(skipped[1]) == ("", "")
    assert warnings_of(caplog) == [
        f"project {house.project_id}: tasks without answers: 1 (an answer field holds no text), "
        "1 (judged or skipped while empty), 2 (prompt missing, empty or not text)"
    ]


def test_a_task_that_cannot_be_stored_is_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    (task,) = house.add_prompts(1)
    house.before_request(f"PATCH /api/tasks/{task}/", lambda: house.studio.failures.append(400))

    house.fill()

    assert "tasks without answers: 1 (Label Studio refused the answers)" in caplog.text


def test_a_project_that_fails_is_logged_once_waits_for_its_timer_and_stops_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.promote(tiny_base, weight=1)
    house.studio.projects[house.project_id]["label_config"] = "<View/>"
    other = House(house.studio, house.settings)
    (task,) = other.add_prompts(1)
    filler, never = house.filler(), threading.Event()

    filler.look(never)
    num_requests = len(house.studio.requests)
    filler.look(never)
    assert len(house.studio.requests) == num_requests  # although its champion was never worked with
    house.fill(filler)

    assert house.is_answered(task)
    assert len(warnings_of(caplog)) == 1
    assert warnings_of(caplog)[0].startswith(f"project {house.project_id}: The label config has no <Pairwise> tags;")


def test_an_error_of_our_own_is_logged_with_its_trace_and_stops_no_other_project(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.promote(tiny_base, weight=1)
    house.add(ANSWERED)
    other = House(house.studio, house.settings)
    (task,) = other.add_prompts(1)
    champion = house.champions.of(house.project_id)
    assert champion.serving is not None
    champion.serving = dataclasses.replace(champion.serving, model=None)  # type: ignore[arg-type]

    house.filler().look(threading.Event())

    assert house.is_answered(task)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"project {house.project_id}: the filler failed"
    assert record.exc_info is not None


def test_an_error_of_the_generator_fails_the_pass_and_stops_no_other_project(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.add_prompts(1)
    other = House(house.studio, house.settings)
    (task,) = other.add({"prompt": "Theirs", **EMPTY})

    def fail(prompts: list[str]) -> None:
        if "Prompt 0" in prompts:
            raise ZeroDivisionError

    house.generator.meanwhile = fail
    house.filler().look(threading.Event())

    assert house.is_answered(task)
    assert f"project {house.project_id}: the generator failed; the log has the trace" in warnings_of(caplog)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
