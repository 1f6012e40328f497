"""An annotator asks for new answers: a task of its own with the same prompt, once, whatever happens on the way."""

import time
from typing import Any

import pytest

from backend.new_tasks.new_answers import META_KEY, ask_again
from preference.errors import StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from tests.support.filling_house import CHOICE, EMPTY, LAYOUT, House, impatient, warnings_of

ANSWERED = {"prompt": "Why is the sky blue?", "answer1": "Because.", "answer2": "It is not.", "source": "forum"}
ASKS = [{"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["new_answers"]}}]
TIE = [{"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}]


def others(house: House, *known: int) -> list[int]:
    return [task_id for task_id in house.studio.tasks if task_id not in known]


def look(house: House, **options: Any) -> int:
    return ask_again(house.project(**options), house.folder, LAYOUT, house.problems)


def link_of(house: House, task_id: int) -> Any:
    return house.studio.tasks[task_id]["meta"].get(META_KEY)


def test_a_pass_gives_the_prompt_new_answers_in_a_task_of_its_own(house: House) -> None:
    (task,) = house.add(ANSWERED, meta={"theirs": 1})
    annotation = house.studio.annotate(task, ASKS, completed_by=7)

    house.fill()
    assert not house.is_answered(*others(house, task))
    house.fill()

    (new,) = others(house, task)
    assert house.is_answered(new)
    answers = {field: house.data(new)[field] for field in EMPTY}
    assert house.data(new) == LAYOUT.laid_out({**ANSWERED, **answers}), "the rest of its data is as it was"
    assert link_of(house, new) == {"for_task": task, "annotation": annotation["id"], "annotator": 7}
    assert house.data(task) == ANSWERED, "what was judged stays as it was"
    assert [made["id"] for made in house.studio.tasks[task]["annotations"]] == [annotation["id"]]
    assert house.studio.tasks[task]["meta"] == {"theirs": 1, META_KEY: {"in_task": new}}


def test_the_new_task_is_made_once_for_many_requests_and_many_passes(house: House) -> None:
    (task,) = house.add(ANSWERED)
    first = house.studio.annotate(task, ASKS, completed_by=1)
    house.studio.annotate(task, ASKS, completed_by=2)

    assert [look(house) for _ in range(3)] == [1, 0, 0]

    (new,) = others(house, task)
    assert link_of(house, new)["annotation"] == first["id"]


def test_new_answers_may_be_asked_for_again(house: House) -> None:
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    look(house)
    (second,) = others(house, task)
    house.studio.annotate(second, ASKS)

    assert look(house) == 1

    (third,) = others(house, task, second)
    assert (link_of(house, second)["for_task"], link_of(house, second)["in_task"]) == (task, third)
    assert link_of(house, third)["for_task"] == second


def test_only_what_changed_since_the_last_look_is_read(house: House) -> None:
    start = time.time()
    house.studio.clock = lambda: start
    for task in house.add(*[ANSWERED] * 501):
        house.studio.annotate(task, CHOICE)
    (later, asking) = house.add(ANSWERED, ANSWERED)
    house.studio.clock = lambda: start + 90
    house.studio.annotate(later, CHOICE)
    assert look(house) == 0
    num_before = len(house.studio.requests)
    house.studio.clock = lambda: start + 180
    house.studio.annotate(asking, ASKS)

    assert look(house) == 1

    # Who asks, what was made since, the task, and the task again before it is written to: a page each.
    assert house.studio.requests[num_before:].count("GET /api/tasks/") == 4
    house.folder.path.joinpath("new_answers").write_text("damaged", encoding="utf-8")
    assert look(house) == 0, "it begins again, and finds it done"


def test_an_ask_while_a_long_list_is_read_is_found_by_the_next_look(house: House) -> None:
    now = time.time()
    house.studio.clock = lambda: now
    first, *_, last = house.add(*[ANSWERED] * 501)
    for task in list(house.studio.tasks):
        house.studio.annotate(task, TIE)
    house.studio.requests.clear()

    def read_slowly(request: str) -> None:
        nonlocal now
        if house.studio.requests.count("GET /api/tasks/") == 2 and house.studio.requests[-1] == "GET /api/tasks/":
            now += 100
            house.studio.annotate(first, ASKS)  # on the page that was read before
            now += 200
            house.studio.annotate(last, TIE)
            house.studio.on_request = lambda request: None

    house.studio.on_request = read_slowly
    made = [ask_again(house.project(), house.folder, LAYOUT, house.problems, clock=lambda: now) for _ in range(2)]

    assert made == [0, 1]


def test_many_judgements_of_one_moment_are_not_read_again_for_ever(house: House) -> None:
    past = time.time() - 120
    house.studio.clock = lambda: past
    for task in house.add(*[ANSWERED] * 501):
        house.studio.annotate(task, CHOICE)
    look(house)
    num_before = len(house.studio.requests)

    look(house)

    assert house.studio.requests[num_before:] == ["GET /api/tasks/"]


def test_a_task_that_label_studio_does_not_make_holds_up_no_other(house: House) -> None:
    refused, task = house.add({**ANSWERED, "prompt": "Refused."}, ANSWERED)
    for each in (refused, task):
        house.studio.annotate(each, ASKS)
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: house.studio.failures.append(400))

    assert look(house) == 1

    assert (link_of(house, refused), list(link_of(house, task))) == (None, ["in_task"])


# Failures


def refuse(house: House, request: str, *, status: int = 400) -> None:
    """From now on the double refuses that request; "" ends it."""
    house.studio.on_request = lambda now: house.studio.failures.extend([status] if now == request else [])


def test_a_refusal_is_not_the_last_word(house: House, caplog: pytest.LogCaptureFixture) -> None:
    past = time.time() - 3600
    house.studio.clock = lambda: past
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    house.studio.clock = time.time
    refuse(house, f"POST /api/projects/{house.project_id}/import")
    assert [look(house) for _ in range(3)] == [0, 0, 0]
    assert len(warnings_of(caplog)) == 1, "it is told once"
    refuse(house, "")

    assert [look(house) for _ in range(2)] == [1, 0]

    (new,) = others(house, task)
    assert link_of(house, task) == {"in_task": new}


def test_a_task_that_cannot_be_marked_gets_one_new_task_and_holds_up_no_other(house: House) -> None:
    refused, task = house.add({**ANSWERED, "prompt": "Refused."}, ANSWERED)
    for each in (refused, task):
        house.studio.annotate(each, ASKS)
    refuse(house, f"PATCH /api/tasks/{refused}/")

    assert [look(house) for _ in range(3)] == [2, 0, 0]

    assert (len(others(house, refused, task)), link_of(house, refused)) == (2, None)
    house.studio.annotate(house.add(ANSWERED)[0], CHOICE)
    refuse(house, "")
    assert look(house) == 0
    assert link_of(house, refused)["in_task"] in others(house, refused, task)


def test_a_task_that_label_studio_always_fails_at_holds_up_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    failing, task = house.add({**ANSWERED, "prompt": "Failing."}, ANSWERED)
    for each in (failing, task):
        house.studio.annotate(each, ASKS)
    refuse(house, f"PATCH /api/tasks/{failing}/", status=500)

    for _ in range(2):
        ask_again(impatient(house), house.folder, LAYOUT, house.problems)

    assert "in_task" in link_of(house, task)
    assert len(others(house, failing, task)) == 2
    (named,) = house.noted()
    assert named.startswith(f"Project {house.project_id}: task {failing} gets no new answers: Label Studio at ")
    assert len(warnings_of(caplog)) == 1
    refuse(house, "")
    assert [look(house), house.noted()] == [0, ()]
    assert "in_task" in link_of(house, failing)


def test_many_failures_are_tried_again_in_turns(house: House) -> None:
    prompts = [f"Prompt {number}" for number in range(45)]
    tasks = house.add(*({**ANSWERED, "prompt": prompt} for prompt in prompts))
    for task in tasks:
        house.studio.annotate(task, ASKS)
    posted = f"POST /api/projects/{house.project_id}/import"
    refuse(house, posted)
    num_tried = [look(house) or house.studio.requests.count(posted) for _ in range(6)]
    refuse(house, "")

    assert num_tried == [45, 65, 85, 105, 125, 145]
    sent = zip(house.studio.requests, house.studio.bodies, strict=True)
    tried = [body[0]["data"]["prompt"] for request, body in sent if request == posted]
    assert tried == [prompts[number % 45] for number in range(145)]
    assert [look(house) for _ in range(4)] == [20, 20, 5, 0]
    assert len(others(house, *tasks)) == 45


@pytest.mark.parametrize("withdrawn", ["deleted", "judged"])
def test_a_failure_that_asks_no_more_is_forgotten(house: House, withdrawn: str) -> None:
    (task,) = house.add(ANSWERED)
    annotation = house.studio.annotate(task, ASKS)
    refuse(house, f"POST /api/projects/{house.project_id}/import")
    look(house)
    refuse(house, "")
    if withdrawn == "deleted":
        del house.studio.tasks[task]
    else:
        house.studio.edit(annotation["id"], result=CHOICE)

    assert look(house) == 0
    num_before = len(house.studio.requests)
    look(house)
    assert house.studio.requests[num_before:] == ["GET /api/tasks/"], "who asks, and no more"


# What else is written meanwhile, and before


def test_what_is_written_into_a_tasks_meta_meanwhile_stays(house: House) -> None:
    (task,) = house.add(ANSWERED, meta={"theirs": 1})
    house.studio.annotate(task, ASKS)
    meta = house.studio.tasks[task]["meta"]
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: meta.update(pairloop_suspect={"gap": -2}))

    look(house)

    (new,) = others(house, task)
    assert house.studio.tasks[task]["meta"] == {"theirs": 1, "pairloop_suspect": {"gap": -2}, META_KEY: {"in_task": new}}


def test_one_ask_is_one_task_even_if_somebody_writes_over_the_meta_that_says_so(house: House) -> None:
    start = time.time()
    house.studio.clock = lambda: start
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    house.studio.clock = lambda: start + 1
    look(house)
    house.studio.clock = lambda: start + 86400
    house.studio.annotate(house.add(ANSWERED)[0], CHOICE)
    look(house)
    (new,) = (other for other in others(house, task) if link_of(house, other))
    house.studio.clock = lambda: start + 2 * 86400
    house.project().store_meta(task, {"pairloop_suspect": {"gap": -2}})

    assert look(house) == 0
    assert link_of(house, task) == {"in_task": new}


@pytest.mark.parametrize("file_of_e08322f", [None, "2026-10-01T00:00:00+00:00"], ids=["first look", "earlier build"])
def test_who_asked_before_the_first_look_gets_new_answers(house: House, file_of_e08322f: str | None) -> None:
    past = time.time() - 90 * 86400
    house.studio.clock = lambda: past
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    house.studio.clock = time.time
    if file_of_e08322f:  # which had passed over it
        (house.folder.path / "new_answers").write_text(file_of_e08322f, encoding="utf-8")

    assert look(house) == 1


# What asks for nothing


def test_judged_skipped_and_open_tasks_ask_for_nothing(house: House) -> None:
    tied, chosen, skipped, _ = tasks = house.add(ANSWERED, ANSWERED, ANSWERED, {**ANSWERED, "prompt": "new_answers"})
    house.studio.annotate(tied, TIE)
    house.studio.annotate(chosen, [*CHOICE, {**ASKS[0], "from_name": "another"}])
    house.studio.annotate(skipped, ASKS, is_skip=True)

    assert look(house) == 0
    assert others(house, *tasks) == []
    assert house.patched() == []


def test_an_edited_judgement_may_ask_for_new_answers_too(house: House) -> None:
    (task,) = house.add(ANSWERED)
    annotation = house.studio.annotate(task, CHOICE)
    house.add(ANSWERED)
    house.studio.edit(annotation["id"], result=[*CHOICE, *ASKS])

    assert look(house) == 1


@pytest.mark.parametrize(("fails", "num_made_later"), [("POST", 1), ("PATCH", 0)])
def test_a_pass_that_ends_between_making_and_marking_leaves_one_task(house: House, fails: str, num_made_later: int) -> None:
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    house.studio.on_request = lambda request: house.studio.failures.extend([503] if request.startswith(fails) else [])
    with pytest.raises(StudioUnreachable):
        look(house, patience_seconds=0.1)
    assert link_of(house, task) is None
    house.studio.on_request = lambda request: None

    assert look(house) == num_made_later

    (new,) = others(house, task)
    assert link_of(house, task) == {"in_task": new}


def test_a_label_config_without_that_choice_costs_no_request(house: House) -> None:
    plain = LabelingLayout.from_label_config(
        '<View><Text name="prompt" value="$prompt"/><Pairwise name="c" toName="a,b"/>'
        '<Text name="a" value="$answer1"/><Text name="b" value="$answer2"/></View>'
    )

    assert ask_again(house.project(), house.folder, plain, house.problems) == 0
    assert house.studio.requests == []


def test_a_task_that_is_deleted_meanwhile_holds_up_no_other(house: House) -> None:
    deleted, task = house.add(ANSWERED, {**ANSWERED, "prompt": "Another?"})
    for each in (deleted, task):
        house.studio.annotate(each, ASKS)
    house.before_request(f"PATCH /api/tasks/{deleted}", lambda: house.studio.tasks.pop(deleted))

    assert look(house) == 2
    assert "in_task" in link_of(house, task)


def test_if_label_studio_refuses_the_new_task_all_else_is_filled(house: House, caplog: pytest.LogCaptureFixture) -> None:
    (task,) = house.add(ANSWERED)
    house.studio.annotate(task, ASKS)
    (empty,) = house.add_prompts(1)
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: house.studio.failures.append(400))

    assert house.run_pass()

    assert house.is_answered(empty)
    assert any("gets no new answers: " in message for message in warnings_of(caplog))
