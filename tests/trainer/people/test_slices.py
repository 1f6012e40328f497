from dataclasses import replace
from typing import Any

import numpy as np

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, Turn
from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.field_values import field_values
from trainer.people.slices import ENOUGH, MOST_VALUES, sliced_accuracy


def test_prompts_are_cut_into_thirds_by_their_length() -> None:
    pairs = [PreferencePair("x" * (10 * length), "a", "b") for length in range(1, 31)]
    right = np.array([1.0] * 10 + [0.0] * 10 + [1.0] * 5 + [0.0] * 5)

    rows = sliced_accuracy(pairs, right)

    assert [row.accuracy.value for row in rows if row.accuracy] == [1.0, 0.0, 0.5]
    assert [row.accuracy.count for row in rows if row.accuracy] == [10, 10, 10]
    assert rows[0].name == "prompts up to 106 characters" and rows[2].name == "prompts over 203 characters"
    assert {row.num_missing for row in rows} == {ENOUGH - 10}


def test_conversations_are_cut_by_their_turns() -> None:
    asked, said = Turn("user", "Why?"), Turn("assistant", "So.")
    prompts: list[Prompt] = ["Why?", (asked, said, asked), (asked, said, asked, said, asked)]
    pairs = [PreferencePair(prompt, "a", "b") for prompt in prompts for _ in range(40)]

    rows = {row.name: row for row in sliced_accuracy(pairs, np.tile([1.0, 1.0, 1.0, 0.0], 30))}

    of_turns = [rows[name] for name in ("one turn", "2 to 4 turns", "5 turns or more")]
    assert [(row.accuracy.value, row.num_missing) for row in of_turns if row.accuracy] == [(0.75, None)] * 3


def test_nothing_is_cut_that_is_all_one_and_few_comparisons_are_only_counted() -> None:
    assert sliced_accuracy([PreferencePair("Why?", "a", "b")] * 20, np.ones(20)) == ()
    few = sliced_accuracy([PreferencePair("x" * n, "a", "b") for n in range(1, 7)], np.ones(6))
    assert [(row.accuracy.value, row.accuracy.count) for row in few if row.accuracy] == [(None, 2)] * 3


def test_all_pairs_of_a_prompt_that_was_ranked_are_one_comparison() -> None:
    ranked = [PreferencePair("x" * n, f"a{i}", "b", kind="ranking") for n in range(1, 31) for i in range(10)]

    rows = sliced_accuracy(ranked, np.tile([1.0] * 5 + [0.0] * 5, 30))

    assert [(row.accuracy.value, row.accuracy.count, row.num_missing) for row in rows if row.accuracy] == [
        (0.5, 10, ENOUGH - 10)
    ] * 3


# By a field of tasks' data


def judged(number: int, **held: Any) -> JudgedTask:
    return {"id": number, "updated_at": "", "data": {"prompt": "Why?", **held}, "annotations": [], "predictions": []}


def of_field(held: list[dict[str, Any]], right: list[float]) -> list[tuple[str, float | None, int | None, int | None]]:
    """The rows for as many comparisons, one a task."""
    votes = [PreferencePair("Why?", f"{n}", "b", task_id=n) for n in range(len(held))]
    holdout = [replace(vote, task_id=None) for vote in votes]  # as if several voted
    values = field_values([judged(n, **data) for n, data in enumerate(held)], ["topic"])
    rows = sliced_accuracy(holdout, np.array(right), votes=votes, values=values)
    return [(row.name, row.accuracy.value, row.accuracy.count, row.num_missing) for row in rows if row.accuracy]


def test_comparisons_are_cut_by_what_their_tasks_hold_in_a_field() -> None:
    held: list[dict[str, Any]] = [{"topic": "law"}] * 30 + [{"topic": "code"}] * 40 + [{}, {"topic": None}, {"topic": " "}]

    rows = of_field(held, [1.0] * 15 + [0.0] * 15 + [1.0] * 43)

    assert rows == [("topic: code", 1.0, 40, None), ("topic: law", 0.5, 30, None), ("without topic", None, 3, ENOUGH - 3)]


def test_of_a_field_with_many_values_those_with_most_comparisons_have_rows() -> None:
    held: list[dict[str, Any]] = [{"topic": f"{n:02}"} for n in range(20) for _ in range(20 - n)] + [{}]

    names = [name for name, *_ in of_field(held, [1.0] * len(held))]

    assert len(names) == MOST_VALUES
    assert names == [*(f"topic: {n:02}" for n in range(10)), "10 other values of topic", "without topic"]


def test_a_field_that_is_the_same_in_all_tasks_cuts_nothing() -> None:
    assert of_field([{"topic": "law"}] * 9, [1.0] * 9) == of_field([{}] * 9, [1.0] * 9) == []


def test_of_a_comparison_in_several_tasks_the_first_ones_value_counts() -> None:
    votes = [PreferencePair("Why?", "a", "b", task_id=n) for n in (1, 2, 3)] + [PreferencePair("Who?", "a", "b", task_id=4)]
    values = field_values([judged(n, topic=topic) for n, topic in enumerate(["", "", "law", "code", "mail"])], ["topic"])

    rows = sliced_accuracy([votes[2], votes[3]], np.ones(2), votes=reversed(votes), values=values)

    assert [(row.name, row.accuracy.count) for row in rows if row.accuracy] == [("topic: law", 1), ("topic: mail", 1)]
