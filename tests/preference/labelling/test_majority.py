from collections import Counter
from dataclasses import replace
from typing import Any

from preference.labelling.holdout import Holdout
from preference.labelling.pairs import (
    PreferencePair,
    majority,
)
from preference.labelling.task_pairs import pairs_of_task
from tests.support.annotations import (
    DATA,
    LAYOUT,
    PROMPTS,
    task,
    vote,
)

# The majority


def voted(side: str, **changes: Any) -> PreferencePair:
    chosen, rejected = ("Left.", "Right.") if side == "left" else ("Right.", "Left.")
    return replace(PreferencePair("Why?", chosen, rejected, chosen_side=side), **changes)  # type: ignore[arg-type]


def test_most_of_the_votes_decide_a_comparison() -> None:
    assert majority([voted("left"), voted("right"), voted("right")]) == [voted("right")]
    assert majority([voted("left")]) == [voted("left")]
    assert majority([]) == []


def test_votes_count_by_their_weight() -> None:
    assert majority([voted("left", weight=0.5), voted("left", weight=0.25), voted("right")]) == [voted("right")]
    assert majority([voted("left", weight=0.5), voted("right", weight=0.25)]) == [voted("left")]


def test_a_balanced_comparison_is_left_out() -> None:
    assert majority([voted("left"), voted("right")]) == []


def test_ties_turn_no_majority_and_written_answers_are_no_votes() -> None:
    ties = [voted(side, kind="tie", weight=0.5) for side in ("left", "right")] * 5
    written = PreferencePair("Why?", "Better.", "Left.", "written")
    assert majority([*ties, voted("right"), written]) == [voted("right")]


def test_the_same_answers_on_the_other_sides_are_the_same_comparison() -> None:
    swapped = replace(voted("left"), chosen_side="right", task_id=8)
    (merged,) = majority([voted("left", task_id=7), swapped, voted("right", task_id=7)])
    assert (merged.chosen, merged.chosen_side, merged.task_id) == ("Left.", None, None)


def test_other_prompts_and_other_answers_are_other_comparisons_in_their_first_order() -> None:
    first, second, third = voted("left", prompt="B?"), voted("right", prompt="A?"), voted("left", prompt="B?", rejected="Wrong.")
    assert majority([first, second, third, first, second]) == [first, second, third]


def test_votes_on_a_prompts_twin_are_votes_on_the_same_comparison() -> None:
    twins = [voted("right", prompt=prompt) for prompt in ("why", "WHY ?")]
    assert majority([voted("left"), *twins]) == [voted("right", prompt="why")]


def test_a_majority_keeps_what_its_votes_share_and_the_mean_of_their_margins() -> None:
    shared = {"task_id": 7, "suggested_version": "v1", "suggested_side": "left", "is_ground_truth": True}
    votes = [
        voted("left", **shared, margin=0.0, annotation_id=1, annotator_id=5, lead_seconds=3.0, judged_at="2026-01-02"),
        voted("left", **shared, margin=1.0, annotation_id=2, annotator_id=6, lead_seconds=5.0, judged_at="2026-01-01"),
        voted("right", task_id=7, margin=1.0, annotation_id=3, annotator_id=8, judged_at="2026-01-03"),
    ]
    assert majority(votes) == [voted("left", **shared, margin=0.5, judged_at="2026-01-02")]


def test_a_majority_stands_under_guidelines_if_all_its_votes_do() -> None:
    first, second = voted("left", guidelines="11111111"), voted("left", guidelines="22222222")
    assert majority([first, first, voted("right", guidelines="22222222")]) == [first]
    assert majority([first, second]) == [voted("left")]


def test_a_majority_is_ground_truth_only_if_every_vote_of_it_is() -> None:
    votes = [voted("left", is_ground_truth=True), voted("left"), voted("right", is_ground_truth=True)]
    assert majority(votes) == [voted("left")]


def test_a_majority_is_blind_only_if_every_vote_of_it_is() -> None:
    assert majority([voted("left", is_blind=True), voted("left", is_blind=True)]) == [voted("left", is_blind=True)]
    assert majority([voted("left", is_blind=True), voted("left")]) == [voted("left")]


def test_an_annotator_who_always_picks_left_is_outvoted_and_stays_known() -> None:
    tasks = [
        task(*(vote(side, id=who, completed_by=who) for who, side in ((5, "left"), (6, "right"), (8, "right"))), data={**DATA, "prompt": p})
        for p in PROMPTS[:30]
    ]  # fmt: skip
    pairs = [pair for judged in tasks for pair in pairs_of_task(judged, LAYOUT, dropped=Counter())]
    assert {p.chosen_side for p in pairs if p.annotator_id == 5} == {"left"}
    assert [p.chosen_side for p in majority(pairs)] == ["right"] * 30


def test_five_hundred_votes_on_one_prompt_stay_on_one_side_and_are_one_comparison() -> None:
    many = task(*(vote("left" if n % 3 else "right", id=n + 1, completed_by=n) for n in range(500)))
    others = [task(vote("left"), data={**DATA, "prompt": p}) for p in PROMPTS[:20]]
    pairs = [pair for judged in (many, *others) for pair in pairs_of_task(judged, LAYOUT, dropped=Counter())]
    assert len(pairs) == 520
    assert sorted(sum(p.prompt == "Why?" for p in part) for part in Holdout(0.5).split(pairs)) == [0, 500]
    merged = majority(pairs)
    assert len(merged) == 21 and merged[0].chosen == "Left." and merged[0].weight == 1
