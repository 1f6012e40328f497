"""A project whose annotators order a list: filled, put into the order of the rewards, and asked for other answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.new_tasks.new_answers import META_KEY as NEW_ANSWERS
from preference.labelling.label_config import LabelingLayout
from tests.conftest import SettingsFactory
from tests.support.annotations import tag_result
from tests.support.filling_house import House
from tests.support.ranked_lists import ORDER, PROMPT, TEMPLATE, ranking
from tests.support.studio_double import KEY, StudioDouble

VERDICT = '<Choices name="verdict" toName="prompt"><Choice value="New answers"/></Choices>'
CONFIG = ORDER.replace(PROMPT, PROMPT + VERDICT)
LAYOUT = LabelingLayout.from_label_config(CONFIG)


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio:
        settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, num_candidates=4, control_percent=0)
        with House(studio, settings, project_id=studio.add_project(CONFIG)) as house:
            yield house


def test_empty_lists_are_filled_and_all_others_left_alone(house: House) -> None:
    empty = house.add({"prompt": "p1", "items": ""}, {"prompt": "p2", "items": []}, {"prompt": "p3"})
    persons = [{"id": "x", "body": "A person's."}, {"id": "y", "body": "Another's."}]
    full, text = house.add({"prompt": "p4", "items": persons}, {"prompt": "p5", "items": "a text"})

    assert house.run_pass()

    for task in empty:
        answers = LAYOUT.answers(house.data(task))
        assert len(set(answers)) == 4 and all(text is not None and text.startswith("Echo ") for text in answers)
        assert house.record(task)["filled"] == ["items"]
    assert house.data(full)["items"] == persons and house.data(text)["items"] == "a text"
    assert house.patched() == sorted(empty)


def test_a_champion_puts_the_answers_into_its_order(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "p", "items": ""})

    assert house.run_pass()

    assert house.versions([task]) == [[version]]
    (prediction,) = house.studio.tasks[task]["predictions"]
    (region,) = prediction["result"]
    serving = house.champions.of(house.project_id).serving
    assert serving is not None and LAYOUT.ranker is not None
    texts = {key: text or "" for key, text in LAYOUT.ranker.texts(house.data(task)).items()}
    rewards = dict(zip(texts, serving.model.score(["p"] * 4, list(texts.values())).tolist(), strict=True))
    assert (region["from_name"], region["to_name"], region["type"]) == ("rank", "answers", "ranker")
    assert region["value"] == {"ranker": {"rank": sorted(rewards, key=lambda key: -rewards[key])}}
    assert 0.5 <= prediction["score"] <= 1


def test_label_studios_template_is_put_into_order_where_all_answers_begin(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    house.studio.projects[house.project_id]["label_config"] = TEMPLATE
    (task,) = house.add({"prompt": "p", "task": "Sort them.", "items": ""})

    assert house.run_pass()

    (prediction,) = house.studio.tasks[task]["predictions"]
    assert {name: len(ids) for name, ids in prediction["result"][0]["value"]["ranker"].items()} == {"_": 4}


def test_who_asks_for_new_answers_gets_an_empty_list_that_is_filled(house: House) -> None:
    (task,) = house.add({"prompt": "p", "items": [{"id": "a", "body": "No."}, {"id": "b", "body": "Why?"}], "source": "forum"})
    asks = tag_result("verdict", "choices", {"choices": ["New answers"]})
    house.studio.annotate(task, ranking("ab", asks)["result"])

    house.fill()
    house.fill()

    (new,) = [task_id for task_id in house.studio.tasks if task_id != task]
    assert house.studio.tasks[new]["meta"][NEW_ANSWERS]["for_task"] == task
    assert len(LAYOUT.answers(house.data(new))) == 4 and house.data(new)["source"] == "forum"
    assert LAYOUT.answers(house.data(task)) == ("No.", "Why?")
