"""Annotators write prompts: each becomes a task, once, and a person makes so many at most."""

from typing import Any

import pytest

from backend.new_tasks.new_prompts import META_KEY, take_new_prompts
from preference.errors import StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from tests.support.filling_house import CHOICE, EMPTY, House, warnings_of
from tests.support.studio_records import LABEL_CONFIG

WITH_BOX = LABEL_CONFIG.replace("<Pairwise", '<Header value="$topic"/><TextArea name="new_prompt" toName="prompt"/><Pairwise')
LAYOUT = LabelingLayout.from_label_config(WITH_BOX)
ANSWERED = {"prompt": "Why is the sky blue?", "answer1": "Because.", "answer2": "It is not.", "topic": "light"}


@pytest.fixture
def asking(house: House) -> House:
    house.studio.projects[house.project_id]["label_config"] = WITH_BOX
    return house


def write(house: House, task: int, text: str, *, who: int = 7, **changes: Any) -> Any:
    region = {"from_name": "new_prompt", "to_name": "prompt", "type": "textarea", "value": {"text": [text]}}
    return house.studio.annotate(task, [*CHOICE, region], completed_by=who, **changes)


def look(house: House, *, most: int = 10, **options: Any) -> int:
    return take_new_prompts(house.project(**options), house.folder, LAYOUT, most_a_person=most)


def made(house: House, *known: int) -> list[str]:
    return [house.data(task_id)["prompt"] for task_id in house.studio.tasks if task_id not in known]


def test_a_prompt_that_an_annotator_writes_is_a_task_that_is_answered(asking: House) -> None:
    (task,) = asking.add(ANSWERED)
    annotation = write(asking, task, " Why is it dark at night? ")

    asking.fill()
    asking.fill()

    (new,) = (task_id for task_id in asking.studio.tasks if task_id != task)
    assert asking.is_answered(new)
    kept = {field: value for field, value in asking.data(new).items() if not field.endswith("_html")}
    assert {**kept, **EMPTY} == {"prompt": "Why is it dark at night?", "topic": "", **EMPTY}
    origin = {"from_task": task, "annotation": annotation["id"], "annotator": 7}
    assert asking.studio.tasks[new]["meta"][META_KEY] == origin


def test_in_a_project_of_conversations_it_is_the_first_turn(asking: House) -> None:
    keys = '<Paragraphs name="prompt" value="$chat.turns" nameKey="role" textKey="content"/>'
    config = WITH_BOX.replace('<Text name="prompt" value="$prompt"/>', keys)
    asking.studio.projects[asking.project_id]["label_config"] = config
    layout = LabelingLayout.from_label_config(config)
    turns = [{"role": "user", "content": "Why?"}]
    (task,) = asking.add({**ANSWERED, "chat": {"turns": turns}})
    write(asking, task, "why")
    write(asking, task, "Who?")

    assert take_new_prompts(asking.project(), asking.folder, layout, most_a_person=9) == 1
    (new,) = (task_id for task_id in asking.studio.tasks if task_id != task)
    assert asking.data(new)["chat"] == {"turns": [{"role": "user", "content": "Who?"}]}


def test_no_prompt_makes_two_tasks(asking: House) -> None:
    task, other = asking.add(ANSWERED, {**ANSWERED, "prompt": "Another?"})
    write(asking, task, "WHY is the sky blue")
    write(asking, task, "New?", who=1)
    write(asking, other, "new", who=2)

    assert [look(asking), look(asking)] == [1, 0]
    assert made(asking, task, other) == ["New?"]


def test_a_person_makes_so_many_at_most(asking: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = asking.add(*({**ANSWERED, "prompt": f"Question {n}?"} for n in range(5)))
    for n, task in enumerate(tasks):
        write(asking, task, f"New {n}?")
    write(asking, tasks[0], "From another?", who=8)

    assert look(asking, most=2) == 3
    assert made(asking, *tasks) == ["New 0?", "From another?", "New 1?"]
    assert "annotator 7 wrote more than NEW_PROMPTS_A_PERSON=2 prompts" in warnings_of(caplog)[0]
    write(asking, tasks[1], "Later?")
    assert look(asking, most=2) == 0, "they are counted from pass to pass"


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_box_that_was_left_empty_makes_none(asking: House, text: str) -> None:
    (task,) = asking.add(ANSWERED)
    write(asking, task, text)
    write(asking, task, "Skipped?", is_skip=True)
    assert look(asking) == 0


def test_what_label_studio_refuses_keeps_no_other(asking: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = asking.add(ANSWERED, {**ANSWERED, "prompt": "Another?"})
    for n, task in enumerate(tasks):
        write(asking, task, f"New {n}?")

    def refuse(request: str) -> None:
        if request.startswith(f"POST /api/projects/{asking.project_id}/import") and not made(asking, *tasks):
            asking.studio.failures = [400]
            asking.studio.on_request = lambda request: None

    asking.studio.on_request = refuse
    assert look(asking) == 1
    assert made(asking, *tasks) == ["New 1?"]
    assert "a prompt that annotator 7 wrote makes no task" in warnings_of(caplog)[0]


def test_a_label_studio_that_is_away_is_asked_again(asking: House) -> None:
    (task,) = asking.add(ANSWERED)
    write(asking, task, "New?")

    def go_down(request: str) -> None:
        if request.startswith(f"POST /api/projects/{asking.project_id}/import"):
            asking.studio.failures = [503] * 20

    asking.studio.on_request = go_down
    with pytest.raises(StudioUnreachable):
        look(asking, patience_seconds=0.1)
    asking.studio.on_request, asking.studio.failures = (lambda request: None), []
    assert look(asking) == 1


def test_a_project_without_the_box_is_not_read(house: House) -> None:
    without = LabelingLayout.from_label_config(LABEL_CONFIG)
    assert take_new_prompts(house.project(), house.folder, without, most_a_person=9) == 0
    assert house.studio.requests == []


def test_what_was_seen_is_not_read_again(asking: House) -> None:
    (task,) = asking.add(ANSWERED)
    write(asking, task, "New?")
    asking.studio.tasks[task]["updated_at"] = "2026-01-01T00:00:00.000000Z"
    look(asking)
    num_requests = len(asking.studio.requests)
    assert look(asking) == 0
    assert len(asking.studio.requests) == num_requests + 1, "the list of what was judged since, and nothing else"
