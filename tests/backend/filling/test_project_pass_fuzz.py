"""Tasks that hold any JSON, beside one that is as it should be: no task stops another, and nothing of anybody's is lost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.new_tasks.new_answers import META_KEY, ask_again
from backend.scoring.predictions import predict_tasks
from preference.labelling.prompts import transcript
from preference.labelling.task_data import shown_text
from preference.setting_groups import SuggestingSettings
from preference.settings import Settings
from tests.support.filling_house import ANSWERED, EMPTY, LAYOUT, House
from tests.support.json_values import DATA, FUZZED, META, RESULT
from tests.support.studio_double import StudioDouble

ODD = st.fixed_dictionaries({"data": DATA, "meta": META, "results": st.lists(RESULT, max_size=2)})
NEW_ANSWERS = [{"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["new_answers"]}}]


def put(house: House, odd: dict[str, Any]) -> int:
    """A task as somebody may have stored it."""
    (task_id,) = house.add({})
    house.studio.tasks[task_id].update(data=odd["data"], meta=odd["meta"])
    for result in odd["results"]:
        house.studio.annotate(task_id, result)
        house.studio.tasks[task_id]["predictions"].append(
            {"id": task_id, "result": result, "score": 0.5, "model_version": "other"}
        )
    return task_id


@FUZZED
@given(st.lists(ODD, min_size=1, max_size=4))
def test_a_pass_answers_what_can_be_answered_beside_any_other_task(
    studio: StudioDouble, settings: Settings, odds: list[dict[str, Any]]
) -> None:
    with House(studio, settings) as house:
        (first,) = house.add({"prompt": "Why?", **EMPTY})
        tasks = {put(house, odd): odd for odd in odds}
        (last,) = house.add({"prompt": "Who?", **EMPTY})
        (asking,) = house.add(dict(ANSWERED))
        studio.annotate(asking, NEW_ANSWERS)

        assert any(house.run_pass() for _ in range(4)), "the first passes make the tasks for new answers"

        assert house.is_answered(first, last)
        made = [task for task in studio.tasks.values() if _link(task).get("for_task") == asking]
        assert len(made) == 1 and house.is_answered(made[0]["id"])
        for task_id, odd in tasks.items():
            assert_nothing_is_lost(studio.tasks[task_id], odd)


def assert_nothing_is_lost(task: dict[str, Any], odd: dict[str, Any]) -> None:
    """But for empty answers, and for Pairloop's own entries in meta."""
    data, meta = odd["data"], odd["meta"]
    if isinstance(data, dict):
        assert all(task["data"][key] == value for key, value in data.items() if key not in EMPTY or shown_text(value) is None)
        shown = {key: shown_text(data[key]) for key in EMPTY if key in data}
        assert all(task["data"][key] == data[key] for key, text in shown.items() if text and text.strip())
    else:
        assert task["data"] == data
    if isinstance(meta, dict):
        assert all(task["meta"][key] == meta[key] for key in meta if not key.startswith("pairloop"))
    elif meta:
        assert task["meta"] == meta


def _link(task: dict[str, Any]) -> dict[str, Any]:
    link = task["meta"].get(META_KEY) if isinstance(task["meta"], dict) else None
    return link if isinstance(link, dict) else {}


@FUZZED
@given(ODD)
def test_new_answers_are_made_once_whatever_the_meta_of_the_task_is(
    studio: StudioDouble, settings: Settings, odd: dict[str, Any]
) -> None:
    with House(studio, settings) as house:
        task_id = put(house, {**odd, "data": dict(ANSWERED)})
        studio.annotate(task_id, NEW_ANSWERS)
        has_its_task = "in_task" in _link(studio.tasks[task_id])

        num_made = [ask_again(house.project(), house.folder, LAYOUT, house.problems) for _ in range(3)]

        assert num_made == [0 if has_its_task else 1, 0, 0]


@FUZZED
@given(st.lists(DATA.filter(lambda data: isinstance(data, dict)), max_size=3))
def test_predict_answers_an_entry_for_any_task(datas: list[dict[str, Any]]) -> None:
    tasks = [{"id": number, "data": data} for number, data in enumerate(datas)]
    assert predict_tasks(tasks, LAYOUT, None, suggesting=SuggestingSettings()) == [[] for _ in datas]
    for data in datas:
        prompt, answers = LAYOUT.prompt(data), LAYOUT.answers(data)
        assert all(
            text is None or (text.strip() and text.encode())
            for text in (None if prompt is None else transcript(prompt), *answers)
        )
