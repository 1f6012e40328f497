from collections import Counter
from typing import Any

import pytest

from preference.labelling.controls.repeats import META_KEY, Repeat, Shown, repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.labelling.task_pairs import pairs_of_repeat, pairs_of_task
from tests.support.studio_records import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
REPEAT = Repeat(3, 31, Shown("right", (-0.25, 1.5)))


def judged(side: str, **fields: Any) -> dict[str, Any]:
    region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
    annotation = {"id": 40, "completed_by": 7, "was_cancelled": False, "parent_prediction": None, "result": [region]}
    return {"id": 9, "data": {"prompt": "p", "answer1": "b", "answer2": "a"}, "annotations": [annotation], **fields}


def test_what_is_said_of_a_repeat_gives_no_pair_and_is_counted() -> None:
    dropped: Counter[str] = Counter()

    assert pairs_of_task(judged("left", meta=REPEAT.to_meta()), LAYOUT, dropped=dropped) == []
    assert dropped == {"judged again": 1}
    assert len(pairs_of_task(judged("left", meta={"mine": 1}), LAYOUT, dropped=dropped)) == 1


@pytest.mark.parametrize(("side", "chosen", "then"), [("left", "b", "right"), ("right", "a", "left")])
def test_it_is_said_of_the_task_that_it_repeats_on_whose_sides_the_answers_stand(side: str, chosen: str, then: str) -> None:
    (pair,) = pairs_of_repeat(judged(side, meta=REPEAT.to_meta()), LAYOUT)

    assert (pair.task_id, pair.annotation_id, pair.chosen, pair.chosen_side) == (3, 40, chosen, then)
    assert pairs_of_repeat(judged(side), LAYOUT) == []


def test_a_tie_stays_one() -> None:
    task = judged("left", meta=REPEAT.to_meta())
    task["annotations"][0]["result"].append(
        {"from_name": "verdict", "to_name": "answer1", "type": "choices", "value": {"choices": ["tie"]}}
    )
    assert [(pair.kind, pair.weight) for pair in pairs_of_repeat(task, LAYOUT)] == [("tie", 0.5)] * 2
    assert pairs_of_repeat(task, LAYOUT, ties="drop") == [], "as the first judgement would give none"


def test_its_meta_is_read_back() -> None:
    assert repeat_of({"meta": REPEAT.to_meta()}) == REPEAT
    nothing = Repeat(3, 31, Shown())
    assert repeat_of({"meta": nothing.to_meta()}) == nothing


@pytest.mark.parametrize(
    "meta",
    [
        None,
        [],
        "repeat",
        {},
        {META_KEY: 3},
        {META_KEY: {}},
        {META_KEY: {"of_task": "3", "annotation": 1}},
        {META_KEY: {"of_task": 3}},
    ],
)
def test_any_other_meta_makes_no_repeat(meta: Any) -> None:
    assert repeat_of({"meta": meta}) is None


@pytest.mark.parametrize("rewards", [None, [1], "12", [True, "1"], [float("nan"), float("inf")], [10**400, -(10**400)]])
def test_what_no_page_can_show_is_not_shown(rewards: Any) -> None:
    repeat = repeat_of({"meta": {META_KEY: {"of_task": 3, "annotation": 1, "lit": "both", "rewards": rewards}}})
    assert repeat == Repeat(3, 1, Shown())


def test_what_was_shown_is_shown_of_the_same_answers() -> None:
    regions = Pairwise.suggestion(LAYOUT, [1.23456, -0.5])
    shown = Pairwise.shown(LAYOUT, regions)

    assert shown == Shown("left", (1.235, -0.5))
    assert Pairwise.showing(LAYOUT, shown.mirrored.mirrored) == regions
    assert Pairwise.showing(LAYOUT, shown.mirrored) == Pairwise.suggestion(LAYOUT, [-0.5, 1.23456])
    assert Pairwise.shown(LAYOUT, []) == Shown()


def test_all_but_the_answers_stays_as_it_is_wherever_they_lie() -> None:
    nested = LABEL_CONFIG.replace("$answer1", "$out.left").replace("$answer2", "$out.right")
    data = {"prompt": "p", "out": {"left": 7, "right": "b", "note": [1]}, "other": None}

    after = LabelingLayout.from_label_config(nested).exchanged(data)

    assert {**after, "out": dict(after["out"])}["out"] | {"note": [1]} == after["out"]
    assert (after["out"]["left"], after["out"]["right"], after["prompt"], after["other"]) == ("b", 7, "p", None)
    assert data["out"] == {"left": 7, "right": "b", "note": [1]}
