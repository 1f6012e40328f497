from collections import Counter
from typing import Any

import pytest

from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.task_pairs import pairs_of_task
from tests.support.annotations import BOTH_BAD, TIE, vote, vote_with
from tests.support.filling_house import LAYOUT
from tests.support.judged_duels import OTHER, VERSION, record
from tests.support.ranked_lists import ORDERED, listed, ranking
from trainer.duels.duels import Duel, judged_duels
from trainer.judgements.cache_file import JudgedTask

SKIP = vote(None, was_cancelled=True)
LEFT, RIGHT, TIED, BAD = vote("left"), vote("right"), vote_with(TIE), vote_with(BOTH_BAD)


def task(*votes: Any, new_in: str = "answer1", duel: Any = None, **data: Any) -> JudgedTask:
    held = {"prompt": "Why?", "answer1": "because", "answer2": "why not", **data}
    known: Any = {"id": 7, "updated_at": "", "data": held, "annotations": list(votes), "predictions": []}
    known["duel"] = record(new_in) if duel is None else duel
    task: JudgedTask = known
    return task


def judged(known: JudgedTask, layout: LabelingLayout = LAYOUT) -> list[Duel]:
    def pairs_of(task: JudgedTask) -> list[PreferencePair]:
        return pairs_of_task(task, layout, dropped=Counter())

    return judged_duels([known], layout, pairs_of)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([LEFT], 1.0),
        ([RIGHT], 0.0),
        ([TIED], 0.5),
        ([LEFT, RIGHT], 0.5),
        ([LEFT, RIGHT, LEFT], 1.0),
        ([RIGHT, TIED], 0.0),
        ([BAD], 0.5),
    ],
)
def test_most_of_the_judgements_say_which_is_preferred(said: list[Any], outcome: float) -> None:
    (duel,), (other_way,) = judged(task(*said)), judged(task(*said, new_in="answer2"))

    assert duel == Duel(7, VERSION, OTHER, "Why?", "because", "why not", outcome)
    assert other_way == Duel(7, VERSION, OTHER, "Why?", "why not", "because", 1 - outcome)
    assert other_way.turned() == Duel(7, OTHER, VERSION, "Why?", "because", "why not", outcome)


@pytest.mark.parametrize(
    "known",
    [
        task(),
        task(SKIP),
        task(LEFT, answer2=""),
        task(LEFT, answer2="because"),
        task(LEFT, prompt=""),
        task(LEFT, new_in="answer3"),
        task(LEFT, duel={"new": VERSION}),
    ],
)
def test_what_says_nothing_of_two_generators_is_left_out(known: JudgedTask) -> None:
    assert judged(known) == []


def test_a_list_of_two_is_a_duel_too() -> None:
    known: Any = {**listed(ranking("ba"), texts=["because", "why not"]), "duel": record("b")}

    assert [(duel.new_answer, duel.outcome) for duel in judged(known, ORDERED)] == [("why not", 1.0)]


def test_a_duel_is_no_task_of_the_control_group() -> None:
    """Which is a sample of the tasks that have suggestions."""
    duel: Any = task(vote("left", parent_prediction=3))
    duel["predictions"] = [{"id": 3, "result": [], "model_version": "v1", "score": 0.7}]
    ordinary: Any = {key: value for key, value in duel.items() if key != "duel"}

    assert [made.is_blind for known in (duel, ordinary) for made in pairs_of_task(known, LAYOUT, dropped=Counter())] == [
        False,
        True,
    ]
