"""How far people agree on what they say beside the comparison, and how accurate a version is by it."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from preference.labelling.controls.verdict import Side
from preference.labelling.pairs import PreferencePair, majority
from preference.report_card.people_figures import CriterionFigures
from trainer.evaluation.pair_rewards import Rewards
from trainer.people.judgements import judgements_of
from trainer.reporting.criteria import criteria_figures


def pair(task: int, annotator: int = 1, *, chosen: Side = "left", kind: Any = "vote", **criteria: Any) -> PreferencePair:
    answers = ("good", "bad") if chosen == "left" else ("bad", "good")
    return PreferencePair(
        f"prompt {task}", *answers, kind=kind, chosen_side=chosen, task_id=task, annotation_id=100 * task + annotator,
        annotator_id=annotator, criteria=json.dumps(criteria), weight=1 if kind == "vote" else 0.5,
    )  # fmt: skip


def figures(votes: list[PreferencePair], *, is_scored: bool = True) -> dict[str, CriterionFigures]:
    """Of a version that prefers every good answer."""
    holdout = majority(votes)
    good = np.array([float(vote.chosen == "good") for vote in holdout])
    rows = criteria_figures(judgements_of(votes), votes, holdout, Rewards(good, 1 - good) if is_scored else None)
    return {row.name: row for row in rows}


def test_a_criterion_that_names_sides_has_an_accuracy_of_its_own() -> None:
    votes = [pair(n, helpful="First" if n < 8 else "Second") for n in range(10)]
    row = figures(votes)["helpful"]
    assert (row.num_judgements, row.by_value) == (10, {})
    assert row.accuracy is not None and (row.accuracy.value, row.accuracy.count) == (0.8, 10)


def test_of_a_tie_what_it_says_of_a_criterion_counts_once() -> None:
    votes = [half for n in range(9) for half in tie(n, helpful="First")] + [pair(n, helpful="First") for n in range(9)]
    row = figures(votes)["helpful"]
    assert row.accuracy is not None and (row.accuracy.value, row.accuracy.count) == (1.0, 18)


def tie(task: int, **criteria: Any) -> list[PreferencePair]:
    sides: list[Side] = ["left", "right"]
    return [pair(task, 2, chosen=side, kind="tie", **criteria) for side in sides]


def test_a_grade_has_an_accuracy_by_value() -> None:
    votes = [pair(n, chosen="left" if n % 2 else "right", clarity=n % 2 + 1) for n in range(20)]
    row = figures(votes)["clarity"]
    assert row.accuracy is None
    assert {value: (by.value, by.count) for value, by in row.by_value.items()} == {"1": (0.0, 10), "2": (1.0, 10)}


def test_an_order_of_several_answers_counts_once_and_names_no_side() -> None:
    orders = [rank for n in range(8) for rank in order(n, clarity="Clear", helpful="First")]
    rows = figures(orders)
    assert (rows["clarity"].num_judgements, rows["clarity"].by_value["Clear"].count) == (8, 8)
    assert rows["helpful"].accuracy is not None and rows["helpful"].accuracy.count == 0


def order(task: int, **criteria: Any) -> list[PreferencePair]:
    pairs = [pair(task, kind="ranking", **criteria) for _ in range(3)]
    return [replace(one, chosen=a, rejected=b, weight=1 / 3) for one, a, b in zip(pairs, "aab", "bcc", strict=True)]


def test_two_annotators_agree_on_a_criterion() -> None:
    votes = [pair(n, who, tone="kind" if n < 4 or who == 1 else "rude") for n in range(8) for who in (1, 2)]
    agreement = figures(votes)["tone"].agreement
    assert agreement is not None and (agreement.value, agreement.count) == (0.5, 8)


def test_reasons_in_words_are_only_counted() -> None:
    row = figures([pair(n, reason=f"Because of {n}.") for n in range(6)])["reason"]
    assert row == CriterionFigures(name="reason", num_judgements=6)


def test_below_eight_comparisons_there_is_a_count_and_no_accuracy() -> None:
    row = figures([pair(n, clarity="Clear") for n in range(7)])["clarity"]
    assert (row.by_value["Clear"].value, row.by_value["Clear"].count) == (None, 7)


def test_a_version_whose_rewards_are_no_numbers_has_no_accuracies() -> None:
    row = figures([pair(n, clarity="Clear") for n in range(10)], is_scored=False)["clarity"]
    assert (row.num_judgements, row.by_value["Clear"].count) == (10, 0)


def test_what_nobody_said_is_no_row() -> None:
    assert figures([pair(1)]) == {}
