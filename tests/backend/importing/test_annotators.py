from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.importing.annotators import Annotators
from preference.studio.account import Account
from preference.studio.task import Annotation
from tests.conftest import SettingsFactory
from tests.support.filling_house import CHOICE, EMPTY, House
from tests.support.importing_house import UnsteadyStudio, import_tasks, stored_tasks
from tests.support.studio_double import KEY

PAIR = {"prompt": "Name a tree.", "answer1": "Oak.", "answer2": "No."}
OURS = "admin@example.com, the account of LABEL_STUDIO_API_KEY"


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with UnsteadyStudio() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        studio.members[2] = "ann@example.com"
        yield house


def judged(**fields: Any) -> Annotation:
    return {"result": CHOICE, "ground_truth": False, "was_cancelled": False, **fields}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("who", "name"),
    [
        (2, "ann@example.com"),
        ("2", "ann@example.com"),
        ("ann@example.com", "ann@example.com"),
        ({"id": 77, "email": "ann@example.com"}, "ann@example.com"),
        ({"id": 2}, "ann@example.com"),
        (77, OURS),
        ({"id": 2, "email": "bob@example.com"}, OURS),
        (None, OURS),
        (True, OURS),
        ([2], OURS),
    ],
)
def test_a_judgement_is_of_the_account_that_the_file_names_or_else_of_the_keys(house: House, who: Any, name: str) -> None:
    annotators = Annotators(Account(house.settings.studio))

    assert annotators.names([judged(completed_by=who)]) == {name: 1}
    (made,) = annotators.annotations_of({"annotations": [judged(completed_by=who)]})
    assert made == (judged() if name == OURS else judged(completed_by=2))


def test_nobody_is_asked_without_a_judgement(house: House) -> None:
    annotators = Annotators(Account(house.settings.studio))

    assert annotators.annotations_of({"data": PAIR}) == [] and annotators.names([]) == {}
    assert house.studio.requests == []


def test_judged_tasks_are_imported_as_they_are_and_get_no_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks: list[Any] = [
        {"data": PAIR, "meta": {"a": 1}, "annotations": [judged(completed_by=2, lead_time=4.5), judged(completed_by=99)]},
        {"data": {"prompt": "Name a bird.", **EMPTY}, "annotations": [judged(was_cancelled=True)]},
        {"data": {**PAIR, "answer1": "Ash."}, "predictions": [{"result": CHOICE, "score": 0.75, "model_version": "old"}]},
        {"data": {**PAIR, "prompt": "Name a fish.", "answer2": ""}, "meta": {"b": 2}},
    ]

    counts = import_tasks(house, tasks)

    assert counts == {
        "imported": 4,
        "unanswered, judged without answers": 1,
        "judgements imported, as ann@example.com": 1,
        f"judgements imported, as {OURS}": 2,
    }
    first, second, _, fourth = stored_tasks(house)
    made = [(a["completed_by"], a["lead_time"], a["ground_truth"], a["result"]) for a in first["annotations"]]
    assert made == [(2, 4.5, False, CHOICE), (1, None, False, CHOICE)] and first["meta"] == {"a": 1}
    assert second["annotations"][0]["was_cancelled"] and second["data"] == {"prompt": "Name a bird.", **EMPTY}, (
        "nothing is written under a judgement"
    )
    assert house.versions([task["id"] for task in stored_tasks(house)]) == [[], [], ["old", version], [version]]
    assert fourth["meta"]["b"] == 2 and fourth["meta"]["pairloop"]["filled"] == ["answer2"]
    assert len(house.generator.jobs) == 1
