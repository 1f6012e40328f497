import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from preference.layout import LabelingLayout
from preference.pairs import PreferencePair, is_held_out, pairs_of_task, read_pairs, split_holdout, write_pairs

LAYOUT = LabelingLayout("comparison", ("answer1", "answer2"), ("answer1", "answer2"), "prompt", (None, None))
DATA = {"prompt": "Why?", "answer1": "Left.", "answer2": "Right."}
PROMPTS = [f"Question number {n}: why {n}?" for n in range(2000)]


def vote(side: str | None, **changes: Any) -> dict[str, Any]:
    """An annotation as label-studio 1.23.2 lists it."""
    value = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
    result = [] if side is None else [{**value, "origin": "manual"}]
    return {"id": 1, "result": result, "was_cancelled": False, "completed_by": 5, "parent_prediction": None, **changes}


def task(*votes: dict[str, Any], data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": 7, "data": DATA if data is None else data, "annotations": list(votes), "predictions": [], **changes}


def pair(prompt: str) -> PreferencePair:
    return PreferencePair(prompt, "good", "bad")


# Votes become pairs


def test_the_chosen_side_is_the_chosen_answer() -> None:
    dropped: Counter[str] = Counter()
    left = pairs_of_task(task(vote("left")), LAYOUT, dropped=dropped)
    right = pairs_of_task(task(vote("right", id=2, completed_by=6)), LAYOUT, dropped=dropped)
    assert left == [PreferencePair("Why?", "Left.", "Right.", task_id=7, annotation_id=1, annotator_id=5)]
    assert right == [PreferencePair("Why?", "Right.", "Left.", task_id=7, annotation_id=2, annotator_id=6)]
    assert not dropped


def test_a_vote_on_a_suggestion_names_the_version_even_where_it_was_flipped() -> None:
    predictions = [{"id": 31, "model_version": "v1-20260101-000000"}, {"id": 32, "model_version": "v2-20260102-000000"}]
    flipped = vote("right", parent_prediction=32)
    flipped["result"][0].update(to_name="answer1", origin="prediction", score=0.9)
    (found,) = pairs_of_task(task(flipped, predictions=predictions), LAYOUT, dropped=Counter())
    assert (found.chosen, found.suggested_version) == ("Right.", "v2-20260102-000000")


def test_a_vote_whose_suggestion_is_gone_names_no_version() -> None:
    (found,) = pairs_of_task(task(vote("left", parent_prediction=99), predictions=None), LAYOUT, dropped=Counter())
    assert found.suggested_version is None


def test_contradicting_annotators_give_a_pair_each() -> None:
    votes = [vote("left", id=1, completed_by=5), vote("right", id=2, completed_by=6), vote("left", id=3, completed_by=8)]
    found = pairs_of_task(task(*votes), LAYOUT, dropped=Counter())
    assert [(p.chosen, p.rejected, p.annotator_id) for p in found] == [
        ("Left.", "Right.", 5),
        ("Right.", "Left.", 6),
        ("Left.", "Right.", 8),
    ]


@pytest.mark.parametrize(
    ("annotation", "data", "reason"),
    [
        (vote(None, was_cancelled=True), DATA, "skipped"),
        (vote("left", was_cancelled=True), DATA, "skipped"),  # skipped after a side was lit
        (vote(None), DATA, "empty"),
        (vote("none"), DATA, "empty"),
        (vote("left", result=None), DATA, "empty"),
        (vote("left"), {**DATA, "prompt": " "}, "missing prompt"),
        (vote("left"), {"answer1": "a", "answer2": "b"}, "missing prompt"),
        (vote("left"), {**DATA, "answer2": ""}, "missing answer"),
        (vote("left"), {**DATA, "answer1": None}, "missing answer"),
        (vote("left"), {**DATA, "answer1": "Same.", "answer2": " Same.\n"}, "identical answers"),
    ],
)
def test_an_annotation_that_gives_no_pair_is_counted_by_its_reason(
    annotation: dict[str, Any], data: dict[str, Any], reason: str
) -> None:
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(annotation, data=data), LAYOUT, dropped=dropped) == []
    assert dropped == {reason: 1}


def test_the_counts_of_several_tasks_add_up_beside_their_pairs() -> None:
    dropped: Counter[str] = Counter()
    skip = vote(None, was_cancelled=True)
    first = pairs_of_task(task(vote("left"), skip, vote(None)), LAYOUT, dropped=dropped)
    second = pairs_of_task(task(skip, vote("right")), LAYOUT, dropped=dropped)
    assert len(first) + len(second) == 2
    assert dropped == {"skipped": 2, "empty": 1}


def test_a_task_without_annotations_gives_nothing() -> None:
    dropped: Counter[str] = Counter()
    assert pairs_of_task({"id": 1, "data": DATA, "annotations": None}, LAYOUT, dropped=dropped) == []
    assert not dropped


# The holdout


def test_a_held_out_prompt_stays_held_out_when_pairs_are_added() -> None:
    few, many = [pair(p) for p in PROMPTS[:50]], [pair(p) for p in reversed(PROMPTS)]
    _, held_out_of_few = split_holdout(few, 0.2)
    train_of_many, held_out_of_many = split_holdout(many, 0.2)
    assert held_out_of_few
    assert set(held_out_of_few) <= set(held_out_of_many)
    assert not set(held_out_of_few) & set(train_of_many)


def test_every_pair_is_on_one_side_in_its_order() -> None:
    pairs = [pair(p) for p in PROMPTS]
    train, holdout = split_holdout(pairs, 0.2)
    trained_on = set(train)
    assert train == [p for p in pairs if p in trained_on]
    assert holdout == [p for p in pairs if p not in trained_on]


def test_all_votes_on_one_prompt_are_on_one_side() -> None:
    pairs = [PreferencePair(p, chosen, "x") for p in PROMPTS[:100] for chosen in ("a", "b")]
    train, holdout = split_holdout(pairs, 0.5)
    assert train and holdout
    assert not {p.prompt for p in train} & {p.prompt for p in holdout}


def test_white_space_and_case_do_not_make_a_new_prompt() -> None:
    for prompt in PROMPTS[:200]:
        assert is_held_out(f"  {prompt.upper()}\n".replace(" ", "\t "), 0.3) == is_held_out(prompt, 0.3)


def test_the_split_is_the_same_in_every_release() -> None:
    assert [n for n, p in enumerate(PROMPTS[:40]) if is_held_out(p, 0.2)] == [2, 4, 9, 11, 13, 20, 21, 24, 27, 28, 37, 38]
    assert is_held_out("שלום 👩‍👩‍👧", 0.2) is False


def test_the_held_out_share_is_the_fraction_and_grows_with_it() -> None:
    tenth, half = ({p for p in PROMPTS if is_held_out(p, fraction)} for fraction in (0.1, 0.5))
    assert len(tenth) == pytest.approx(200, abs=50)
    assert len(half) == pytest.approx(1000, abs=100)
    assert tenth < half


# On disk


def test_pairs_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    pairs = [
        PreferencePair("line one\nline two\u2028and three", '"quoted"', "שלום 👩‍👩‍👧", 1, 2, 3, "v1-20260101-000000"),
        PreferencePair("", "a", "b"),
    ]
    write_pairs(pairs, tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    assert len((tmp_path / "pairs.jsonl").read_bytes().splitlines()) == 2


def test_foreign_keys_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "p", "chosen": "c", "rejected": "r", "margin": 3})
    (tmp_path / "pairs.jsonl").write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    assert read_pairs(tmp_path / "pairs.jsonl") == [PreferencePair("p", "c", "r")] * 2
