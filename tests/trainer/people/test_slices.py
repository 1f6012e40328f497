import numpy as np

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, Turn
from trainer.people.slices import ENOUGH, sliced_accuracy


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
