from collections.abc import Iterator
from typing import Any

import pytest

from backend.connecting.default_label_config import default_label_config
from backend.importing.known_rows import KnownRows
from preference.labelling.controls.ranker import items_of
from preference.labelling.label_config import LabelingLayout
from tests.conftest import SettingsFactory
from tests.support.filling_house import CHOICE, EMPTY, LAYOUT, House
from tests.support.importing_house import COMPARISONS, PROMPTS, UnsteadyStudio, import_tasks, run_import, stored_tasks
from tests.support.ranked_lists import ORDERED
from tests.support.studio_double import KEY
from tests.support.studio_records import LABEL_CONFIG

EGG = "How do I boil an egg?"
PAIR = {"prompt": EGG, "answer1": "Seven minutes.", "answer2": "Ten minutes."}
OTHER = {"prompt": EGG, "answer1": "Seven minutes.", "answer2": "Ask a chef."}


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with UnsteadyStudio() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def known(*datas: dict[str, Any], layout: LabelingLayout = LAYOUT) -> KnownRows:
    rows = KnownRows(layout)
    for data in datas:
        rows.add(data)
    return rows


def test_a_comparison_is_known_by_its_prompt_and_its_answers() -> None:
    rows = known(PAIR)

    assert rows.holds({**PAIR, "prompt": "how do i BOIL an egg", "topic": "food"})
    assert not rows.holds(OTHER) and not rows.holds({**PAIR, "prompt": "How do I fry an egg?"})
    assert not rows.holds({**PAIR, "answer1": PAIR["answer2"], "answer2": PAIR["answer1"]}), "the sides are turned round"


def test_conversations_are_known_by_every_turn_and_apart_from_texts_that_earlier_were_in_their_place() -> None:
    layout = LabelingLayout.from_label_config(default_label_config(conversations=True))

    def said(*turns: str) -> dict[str, Any]:
        roles = ("user", "assistant") * len(turns)
        return {**EMPTY, "prompt": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]}

    rows = known(said(EGG, "In water.", "How long?"), layout=layout)

    assert rows.holds(said(EGG.upper(), "In water", "How long?"))
    assert not rows.holds(said(EGG)) and not rows.holds(said(EGG, "In a pan.", "How long?"))
    assert rows.signature != known().signature, "what was kept of a project of texts says nothing of one of conversations"


def test_a_task_is_also_the_row_that_it_was_made_of() -> None:
    rows = known(PAIR)

    assert rows.holds({"prompt": EGG, **EMPTY})
    assert rows.holds({**PAIR, "answer1": ""}) and rows.holds({**PAIR, "answer2": ""})
    assert not rows.holds({**PAIR, "answer1": "", "answer2": "Ask a chef."})
    assert not known({"prompt": EGG, **EMPTY}).holds(PAIR)


@pytest.mark.parametrize("name", ["system", "system_prompt", "context", "history", "input"])
def test_one_prompt_in_two_contexts_is_two_rows(name: str) -> None:
    pirate, lawyer = ({name: text, "prompt": "Say hello.", **EMPTY} for text in ("You are a pirate.", "You are a lawyer."))

    assert known(pirate).holds(pirate) and not known(pirate).holds(lawyer)
    assert not known(pirate).holds({"prompt": "Say hello.", **EMPTY})
    assert known({**pirate, name: ""}).holds({"prompt": "Say hello.", **EMPTY})


def test_what_the_label_config_shows_beside_the_prompt_is_context() -> None:
    shows = LABEL_CONFIG.replace('<View className="prompt">', '<Header value="Read: $passage"/><View className="prompt">')
    one, two = ({"passage": text, "prompt": "Sum it up.", **EMPTY} for text in ("The sea.", "The hills."))

    assert not known(one, layout=LabelingLayout.from_label_config(shows)).holds(two)
    assert known(one).holds(two), "which nobody sees"


def test_a_hundred_thousand_rows_are_told_apart() -> None:
    rows = known(*({"prompt": f"Prompt {n}", **EMPTY} for n in range(0, 100_000, 2)))

    assert [n for n in range(1000) if rows.holds({"prompt": f"Prompt {n}", **EMPTY})] == list(range(0, 1000, 2))


def test_every_pair_of_a_prompt_is_imported_once(house: House) -> None:
    assert run_import(house, [PAIR, OTHER, PAIR]) == {"imported": 2, COMPARISONS: 1}
    assert [task["data"] for task in stored_tasks(house)] == [LAYOUT.laid_out(row) for row in (PAIR, OTHER)]

    assert run_import(house, [PAIR, OTHER, {"prompt": EGG, **EMPTY}]) == {COMPARISONS: 2, PROMPTS: 1}
    assert house.generator.jobs == []


def test_one_prompt_under_two_systems_is_imported_twice(house: House) -> None:
    rows = [{"system": f"You are a {who}.", "prompt": "Say hello.", **EMPTY} for who in ("pirate", "lawyer")]

    assert run_import(house, rows) == {"imported": 2}
    assert run_import(house, rows) == {PROMPTS: 2}


def test_given_answers_to_one_prompt_are_each_answered_once(house: House) -> None:
    rows = [{"prompt": EGG, "answer1": text, "answer2": ""} for text in ("Seven minutes.", "Ten minutes.")]

    assert run_import(house, rows) == {"imported": 2}
    assert run_import(house, rows) == {PROMPTS: 2}


def test_a_known_comparison_whose_judgement_does_not_come_along_is_counted_so(house: House) -> None:
    house.add(PAIR)

    assert import_tasks(house, [{"data": PAIR, "annotations": [{"result": CHOICE}]}]) == {
        "skipped, with its judgements, the project holds the comparison": 1
    }


def test_a_list_of_answers_is_known_as_a_whole_and_as_the_empty_one_that_it_was() -> None:
    data = {"prompt": EGG, "items": items_of([f"Answer {n}." for n in range(30)])}
    rows = known(data, layout=ORDERED)

    assert rows.holds(data) and rows.holds({"prompt": EGG, "items": ""}) and rows.holds({"prompt": EGG, "items": []})
    assert not rows.holds({**data, "items": data["items"][:-1]})
    assert not known({"prompt": EGG, "items": ""}, layout=ORDERED).holds(data)
