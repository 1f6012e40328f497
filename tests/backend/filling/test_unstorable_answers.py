"""What a model brings and no database takes, and what Label Studio does not store: neither ends a project's turn, or another's."""

import logging
import threading
from collections import Counter
from pathlib import Path

import pytest

from backend.filling.project_pass import ProjectPass, open_pass
from backend.filling.shown_version import ShownVersion
from preference.errors import StudioError, StudioUnreachable
from preference.generation.jobs import Job, WrittenAnswers
from preference.projects.versions import UNTRAINED
from tests.support.filling_house import ANSWERED, EMPTY, House, echo, impatient, warnings_of
from tests.support.studio_double import KEY

REASON = "Label Studio refused the answers"


class Impatient(threading.Event):
    """Nobody waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0)


def run_pass(house: House) -> ProjectPass:
    """A pass that calls Label Studio once for each thing."""
    opened = open_pass(impatient(house), house.folder, ShownVersion(is_sure=True), house.bench())
    assert isinstance(opened, ProjectPass)
    opened.run(lambda: False, has_new_version=False)
    return opened


def fail_at(house: House, *task_ids: int, status: int = 500, marks_too: bool = False) -> None:
    """From now on the double fails to store the answers of these tasks; or whatever is stored of them."""
    paths = [f"PATCH /api/tasks/{task_id}/" for task_id in task_ids]

    def watch(request: str) -> None:
        if request in paths and (marks_too or "data" in house.studio.bodies[-1]):
            house.studio.failures.append(status)

    house.studio.on_request = watch


def connect(house: House) -> None:
    """The project shows no version yet."""
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.studio.projects[house.project_id]["model_version"] = UNTRAINED


def problems_of(house: House) -> list[str]:
    return [problem.removeprefix(f"Project {house.project_id}: ") for problem in house.noted()]


# What the model brings


def test_what_no_database_takes_is_removed_from_answers_and_said_in_the_tasks_meta(house: House) -> None:
    def write(job: Job) -> WrittenAnswers:
        return WrittenAnswers(["Whole \0words\0.", "Half an emoji: \ud83d"]) if job.prompt == "Bad" else echo(job)

    house.studio.is_on_postgresql = True
    house.generator.write = write
    (bad,) = house.add({"prompt": "Bad", **EMPTY})
    others = house.add_prompts(5)
    elsewhere = House(house.studio, house.settings)
    (theirs,) = elsewhere.add_prompts(1)

    house.filler().look(threading.Event())

    assert sorted(house.answers(bad)) == ["Half an emoji: \N{REPLACEMENT CHARACTER}", "Whole words."]
    assert house.record(bad)["characters_changed"] == 3
    assert house.is_answered(*others, theirs)
    assert "characters_changed" not in house.record(others[0])
    assert house.noted() == ()


def test_an_answer_of_nothing_else_is_none(house: House) -> None:
    house.generator.write = lambda job: WrittenAnswers(["\0", "\0\0"])
    (task,) = house.add_prompts(1)

    house.answer()

    assert house.record(task)["refused"] == "the model wrote nothing"


def test_why_a_server_refused_a_prompt_is_stored_whatever_the_server_says(house: House) -> None:
    house.studio.is_on_postgresql = True
    house.generator.write = lambda job: WrittenAnswers([], refused="the server refused the prompt: \0\ud83d")
    (task,) = house.add_prompts(1)

    house.answer()

    assert house.record(task)["refused"] == "the server refused the prompt: \N{REPLACEMENT CHARACTER}"


def test_what_a_person_left_in_a_task_goes_back_as_it_was(house: House) -> None:
    theirs = {"note": "half an emoji: \ud83d", "whole": "😀", "k\ud83d": "nul: \0"}  # SQLite keeps these
    (task,) = house.add({"prompt": "Prompt", **theirs, **EMPTY})

    house.answer()

    assert house.is_answered(task)
    assert {key: house.data(task)[key] for key in theirs} == theirs


# What Label Studio does not store


@pytest.mark.parametrize("status", [500, 400, 403])
def test_a_task_whose_answers_are_not_stored_is_given_up_marked_counted_and_named(
    house: House, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    tasks = house.add_prompts(4)
    bad, worse = tasks[1], tasks[3]
    fail_at(house, bad, worse, status=status)

    run_pass(house)
    run_pass(house)

    assert [house.is_answered(task) for task in tasks] == [True, False, True, False]
    for task in (bad, worse):
        assert house.answers(task) == ("", "")
        assert house.record(task)["refused"].startswith(f"{REASON}: Label Studio ")
    assert f"({status})" in house.record(bad)["refused"] or f"with {status}" in house.record(bad)["refused"]
    assert house.generator.prompts == [f"Prompt {n}" for n in range(4)], "the second pass writes nothing again"
    (named,) = problems_of(house)
    assert named.startswith((f"task {bad}: {REASON}: ", f"task {worse}: {REASON}: "))
    assert len(warnings_of(caplog)) <= 2 and all(REASON in message for message in warnings_of(caplog)), "of two passes"


@pytest.mark.parametrize("failure", [502, 504, 0], ids=["bad gateway", "gateway timeout", "hangs up"])
def test_a_task_whose_store_always_ends_at_a_proxy_is_given_up_while_others_are_stored(house: House, failure: int) -> None:
    bad, *others = house.add_prompts(4)
    scheduler, num_tries = house.scheduler(), Counter[str]()
    scheduler.stopping = Impatient()

    def fail(request: str) -> None:
        if request == f"PATCH /api/tasks/{bad}/" and "data" in house.studio.bodies[-1] and num_tries.total() < 20:
            num_tries[request] += 1
            house.studio.failures.append(failure)

    house.studio.on_request = fail
    stream = house.stream(scheduler, project=impatient(house))

    house.answer(stream)

    assert house.is_answered(*others) and not house.is_answered(bad)
    assert num_tries.total() == 3 and stream.dropped == {REASON: 1}
    assert house.record(bad)["refused"].startswith(f"{REASON}: Label Studio at ")


def test_answers_are_stored_after_a_lock_that_outlasted_their_tries(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A large import on SQLite, say: 500 to the first PATCHes of each."""
    tasks = house.add_prompts(4)
    num_refused = Counter[str]()

    def be_locked(request: str) -> None:
        if request.startswith("PATCH") and num_refused[request] < 2:
            num_refused[request] += 1
            house.studio.failures.append(500)

    house.studio.on_request = be_locked
    stream = house.stream(project=impatient(house))

    house.answer(stream)

    assert num_refused.total() == 8 and house.is_answered(*tasks)
    assert not stream.dropped and warnings_of(caplog) == []
    assert all("refused" not in house.record(task) for task in tasks)
    assert len(house.generator.jobs) == 4


def test_it_is_tried_again_after_an_hour_and_the_problem_ends_with_it(house: House) -> None:
    (bad,) = house.add_prompts(1)
    fail_at(house, bad)
    run_pass(house)
    assert problems_of(house)
    house.studio.on_request = lambda request: None
    house.record(bad)["at"] -= 3601

    run_pass(house)

    assert house.is_answered(bad) and "refused" not in house.record(bad)
    assert problems_of(house) == []


def test_a_task_of_which_nothing_is_stored_holds_up_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    bad, *others = house.add_prompts(30)
    fail_at(house, bad, marks_too=True)
    stream = house.stream(project=impatient(house))

    house.answer(stream)

    assert house.is_answered(*others)
    assert stream.dropped == {REASON: 1}
    assert house.record(bad) is None
    assert len(warnings_of(caplog)) == 1 and f"task {bad}: {REASON}: " in warnings_of(caplog)[0]


@pytest.mark.parametrize("status", [500, 403], ids=["full disk", "a key that may only read"])
def test_if_nothing_at_all_is_stored_the_pass_ends_early_with_one_line(
    house: House, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    tasks = house.add_prompts(100)
    fail_at(house, *tasks, status=status, marks_too=True)

    with pytest.raises(StudioError, match=str(status)):
        run_pass(house)

    assert len(house.generator.jobs) < 40
    assert len(warnings_of(caplog)) == 1
    assert len(problems_of(house)) == 1


def test_an_outage_ends_a_turn_if_another_project_waits(house: House) -> None:
    house.add_prompts(4)
    is_over = threading.Event()

    def go_away(request: str) -> None:
        if request.startswith("PATCH"):
            is_over.set()
            house.studio.failures = [503] * 100

    house.studio.on_request = go_away

    with pytest.raises(StudioUnreachable):
        house.stream(project=impatient(house)).run(house.unanswered(), should_stop=is_over.is_set)


def test_tasks_that_label_studio_cannot_list_any_more_end_the_turn(house: House) -> None:
    house.add_prompts(40)
    house.before_request("GET /api/tasks/", lambda: house.studio.failures.extend([500] * 100), time=2)

    with pytest.raises(StudioUnreachable, match="keeps failing with 500"):
        house.answer(house.stream(project=impatient(house)))

    assert len(house.studio.failures) == 99, "each call takes as long as the project's patience"


# Predictions


def test_a_prediction_that_is_not_stored_holds_up_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    connect(house)
    tasks = house.add(*[ANSWERED] * 9)
    bad = tasks[4]
    posted = f"POST /api/projects/{house.project_id}/import/predictions"

    def fail(request: str) -> None:
        if request == posted and any(prediction["task"] == bad for prediction in house.studio.bodies[-1]):
            house.studio.failures.append(500)

    house.studio.on_request = fail
    run_pass(house)

    assert house.versions(tasks) == [[] if task == bad else [version] for task in tasks]
    assert house.studio.projects[house.project_id]["model_version"] == version, "the others are shown in its order"
    (named,) = problems_of(house)
    assert named.startswith(f"task {bad}: its prediction cannot be stored: Label Studio at ")
    house.studio.on_request = lambda request: None
    run_pass(house)
    assert house.versions([bad]) == [[version]] and problems_of(house) == []


def test_if_no_prediction_is_stored_the_rest_is_not_even_sent(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    connect(house)
    house.add(*[ANSWERED] * 64)
    posted = f"POST /api/projects/{house.project_id}/import/predictions"
    house.studio.on_request = lambda request: house.studio.failures.extend([403] if request == posted else [])

    run_pass(house)

    assert house.num_bulks() < 20
    assert house.studio.projects[house.project_id]["model_version"] == UNTRAINED
    assert len(problems_of(house)) == 1


# The key


def test_a_refused_key_is_one_line_and_a_problem_until_it_works(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(20)
    filler = house.filler()
    house.studio.refuses_keys = True
    for _ in range(3):
        house.fill(filler)

    assert len(warnings_of(caplog)) == 1
    (named,) = problems_of(house)
    assert "refuses LABEL_STUDIO_API_KEY; " in named and KEY not in named + caplog.text

    house.studio.refuses_keys = False
    house.fill(filler)
    assert house.is_answered(*tasks) and problems_of(house) == []
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == []
