"""Pairs of a label config that shows no prompt: two answers that are compared are one question, whichever stands left."""

from collections import Counter
from typing import Any

from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair, majority
from preference.labelling.task_pairs import pairs_of_task
from tests.support.annotations import vote
from tests.support.templates import RECORDED

LAYOUT = LabelingLayout.from_label_config(RECORDED["ranking-and-scoring/pairwise-classification"])
WITH_TEXT_AREA = LabelingLayout.from_label_config(
    RECORDED["ranking-and-scoring/pairwise-classification"].replace(
        "<Pairwise", '<TextArea name="better_answer" toName="text1"/><Pairwise'
    )
)


def judged(left: str, right: str, side: str, **changes: Any) -> dict[str, Any]:
    region = {"from_name": "pw", "to_name": "pw", "type": "pairwise", "value": {"selected": side}}
    return {
        "id": 7,
        "data": {"pairText1": left, "pairText2": right},
        "annotations": [{**vote(None), "result": [region], **changes}],
    }


def pairs_of(*tasks: dict[str, Any], layout: LabelingLayout = LAYOUT) -> list[PreferencePair]:
    return [pair for task in tasks for pair in pairs_of_task(task, layout, dropped=Counter())]


def test_a_judgement_without_a_prompt_is_a_pair() -> None:
    (pair,) = pairs_of(judged("Left.", "Right.", "right"))
    assert (pair.prompt, pair.chosen, pair.rejected) == ("", "Right.", "Left.")


def test_the_same_two_answers_are_one_question_whichever_stands_left() -> None:
    first, turned, other = pairs_of(
        judged("One.", "Two.", "left"), judged("two", "ONE.", "left"), judged("One.", "Three.", "left")
    )
    assert first.question == turned.question != other.question


def test_votes_on_the_same_two_answers_are_one_comparison() -> None:
    votes = pairs_of(*(judged("One.", "Two.", side) for side in ("left", "left", "right")), judged("Two.", "One.", "right"))
    (merged,) = majority(votes)
    assert merged.chosen == "One."


def test_comparisons_are_held_out_one_by_one() -> None:
    pairs = pairs_of(*(judged(f"Answer {n}.", f"Reply {n}.", "left") for n in range(400)))
    train, held_out = Holdout(0.2).split(pairs)
    assert len(train) + len(held_out) == 400
    assert 50 < len(held_out) < 110


def test_what_an_annotator_writes_stands_on_the_side_of_what_he_read() -> None:
    written = {"from_name": "better_answer", "to_name": "text1", "type": "textarea", "value": {"text": ["Better."]}}
    tasks = []
    for n in range(50):
        task = judged(f"Answer {n}.", f"Reply {n}.", "left")
        task["annotations"][0]["result"].append(written)
        tasks.append(task)
    train, held_out = Holdout(0.3).split(pairs_of(*tasks, layout=WITH_TEXT_AREA))
    assert {pair.kind for pair in train} == {pair.kind for pair in held_out} == {"vote", "written"}
    assert not {pair.question for pair in train} & {pair.question for pair in held_out}


def test_a_pair_with_a_prompt_is_of_that_question() -> None:
    layout = LabelingLayout.from_label_config(RECORDED["generative-ai/human-feedback-collection"])
    task = {"id": 1, "data": {"prompt": "Why?", "answer1": "a", "answer2": "b"}, "annotations": [vote("left")]}
    (pair,) = pairs_of(task, layout=layout)
    assert (pair.question, pair.compared) == ("Why?", "")
