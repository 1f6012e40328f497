import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from preference.labelling.controls.named import Tag
from preference.labelling.conversations import MessageKeys
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import (
    PreferencePair,
    majority,
    read_pairs,
    write_pairs,
)
from preference.labelling.prompts import Turn
from preference.labelling.results import Pairwise
from preference.labelling.task_pairs import pairs_of_task
from tests.conftest import REPOSITORY
from tests.support.annotations import (
    BOTH_BAD,
    DATA,
    FULL,
    JUDGED,
    LAYOUT,
    THREE_STARS,
    TIE,
    WRITTEN,
    tag_result,
    task,
    vote,
    vote_with,
)

# Votes become pairs


def test_the_chosen_side_is_the_chosen_answer() -> None:
    dropped: Counter[str] = Counter()
    left = pairs_of_task(task(vote("left")), LAYOUT, dropped=dropped)
    right = pairs_of_task(task(vote("right", id=2, completed_by=6)), LAYOUT, dropped=dropped)
    assert left == [PreferencePair("Why?", "Left.", "Right.", task_id=7, annotation_id=1, annotator_id=5, chosen_side="left")]
    assert right == [PreferencePair("Why?", "Right.", "Left.", task_id=7, annotation_id=2, annotator_id=6, chosen_side="right")]
    assert not dropped


def test_a_vote_against_a_suggestion_names_its_version_too() -> None:
    predictions = [{"id": 31, "model_version": "v1-20260101-000000"}, {"id": 32, "model_version": "v2-20260102-000000"}]
    flipped = vote("right", parent_prediction=32)
    flipped["result"][0].update(to_name="answer1", origin="prediction", score=0.9)
    (pair,) = pairs_of_task(task(flipped, predictions=predictions), LAYOUT, dropped=Counter())
    assert (pair.chosen, pair.suggested_version) == ("Right.", "v2-20260102-000000")


def test_a_vote_whose_suggestion_was_deleted_names_no_version() -> None:
    (pair,) = pairs_of_task(task(vote("left", parent_prediction=99), predictions=None), LAYOUT, dropped=Counter())
    assert pair.suggested_version is None


def test_what_a_vote_says_of_itself_is_kept() -> None:
    suggestion = vote("left")["result"]
    annotation = vote_with(
        THREE_STARS, side="right", id=3, completed_by={"id": 8, "email": "a@b.c"}, parent_prediction=32, ground_truth=True,
        lead_time=4, created_at="2026-11-21T12:02:04.939797Z",
    )  # fmt: skip
    predictions = [{"id": 31, "model_version": "v1", "result": []}, {"id": 32, "model_version": "v2", "result": suggestion}]
    pairs = pairs_of_task(task(annotation, predictions=predictions), FULL, dropped=Counter())
    assert pairs == [
        PreferencePair(
            "Why?", "Right.", "Left.", margin=2 / 3, task_id=7, annotation_id=3, annotator_id=8, chosen_side="right",
            suggested_version="v2", suggested_side="left", is_lit=True, is_by_confidence=True, is_ground_truth=True,
            lead_seconds=4.0, judged_at="2026-11-21T12:02:04.939797Z",
        )
    ]  # fmt: skip


def test_a_vote_after_a_prediction_that_shows_nothing_is_blind() -> None:
    for result, is_blind in (
        ([], True),
        (None, False),
        (vote("left")["result"], False),
        ([{"from_name": "of another config"}], False),
    ):
        predictions = [{"id": 32, "model_version": "v2", "result": result, "score": 0.7}]
        (pair,) = pairs_of_task(task(vote("right", parent_prediction=32), predictions=predictions), LAYOUT, dropped=Counter())
        known = (pair.is_blind, pair.suggested_version, pair.suggested_confidence)
        assert known == (is_blind, "v2", 0.7 if pair.suggested_side else None)
    (unseen,) = pairs_of_task(task(vote("right")), LAYOUT, dropped=Counter())
    assert (unseen.is_blind, unseen.suggested_version) == (False, None)


def test_a_side_that_was_lit_is_told_from_a_higher_reward() -> None:
    layout = replace(LAYOUT, reward_tags=(Tag("reward1", "answer1"), Tag("reward2", "answer2")))
    shown = Pairwise.suggestion(layout, (0.2, 0.1)), Pairwise.suggestion(layout, (0.2, 0.1), suggest="scores")
    for result, is_lit in zip(shown, (True, False), strict=True):
        predictions = [{"id": 32, "model_version": "v2", "result": result, "score": 0.7}]
        (pair,) = pairs_of_task(task(vote("right", parent_prediction=32), predictions=predictions), layout, dropped=Counter())
        assert (pair.suggested_side, pair.is_lit, pair.suggested_confidence) == ("left", is_lit, 0.7)


def test_a_time_that_the_sdk_has_parsed_is_text_again() -> None:
    annotation = vote("left", created_at=datetime(2026, 11, 21, 12, tzinfo=UTC))
    (pair,) = pairs_of_task(task(annotation), LAYOUT, dropped=Counter())
    assert pair.judged_at == "2026-11-21T12:00:00+00:00"


def test_a_vote_without_a_suggestion_is_not_taken_for_one_on_a_prediction_without_an_id() -> None:
    prediction = {"model_version": "v1", "result": vote("left")["result"]}
    (pair,) = pairs_of_task(task(vote("left"), predictions=[prediction]), LAYOUT, dropped=Counter())
    assert (pair.suggested_version, pair.suggested_side) == (None, None)


def test_a_draft_is_no_judgement() -> None:
    layout = LabelingLayout.from_label_config(JUDGED["label_config"])
    recorded = JUDGED["tasks"]["right"]
    assert [draft["result"][0]["value"] for draft in recorded["drafts"]] == [{"selected": "left"}]
    assert [pair.chosen_side for pair in pairs_of_task(recorded, layout, dropped=Counter())] == ["right"]


def test_contradicting_annotators_give_a_pair_each_oldest_first() -> None:
    votes = [vote("left", id=3, completed_by=8), vote("right", id=2, completed_by=6), vote("left", id=1, completed_by=5)]
    pairs = pairs_of_task(task(*votes), LAYOUT, dropped=Counter())
    assert [(p.chosen, p.rejected, p.annotator_id) for p in pairs] == [
        ("Left.", "Right.", 5),
        ("Right.", "Left.", 6),
        ("Left.", "Right.", 8),
    ]


def test_an_annotator_who_judged_twice_has_two_votes() -> None:
    pairs = pairs_of_task(task(vote("left", id=1), vote("right", id=2)), LAYOUT, dropped=Counter())
    assert [(p.chosen, p.annotator_id) for p in pairs] == [("Left.", 5), ("Right.", 5)]


# Ties


@pytest.mark.parametrize(("region", "kind"), [(TIE, "tie"), (BOTH_BAD, "both_bad")])
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_a_tie_is_half_a_vote_each_way_whatever_side_is_lit(region: dict[str, Any], kind: Any, side: str | None) -> None:
    dropped: Counter[str] = Counter()
    pairs = pairs_of_task(task(vote_with(region, THREE_STARS, side=side)), FULL, dropped=dropped)
    half = PreferencePair("Why?", "Left.", "Right.", kind, 0.5, task_id=7, annotation_id=1, annotator_id=5, chosen_side="left")
    assert pairs == [half, replace(half, chosen="Right.", rejected="Left.", chosen_side="right")]
    assert not dropped


@pytest.mark.parametrize(("region", "reason"), [(TIE, "tie"), (BOTH_BAD, "both bad")])
def test_ties_can_be_left_out_and_are_counted(region: dict[str, Any], reason: str) -> None:
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(vote_with(region, side="left")), FULL, dropped=dropped, ties="drop") == []
    assert dropped == {reason: 1}


def test_all_ties_have_no_majority() -> None:
    ties = [pair for _ in range(20) for pair in pairs_of_task(task(vote_with(TIE)), FULL, dropped=Counter())]
    assert len(ties) == 40 and sum(pair.weight for pair in ties) == 20
    assert majority(ties) == []


# Written answers


@pytest.mark.parametrize(("side", "beaten"), [("left", "Left."), ("right", "Right.")])
def test_a_written_answer_beats_the_chosen_one_beside_the_vote(side: str, beaten: str) -> None:
    pairs = pairs_of_task(task(vote_with(WRITTEN, THREE_STARS, side=side)), FULL, dropped=Counter())
    assert [p.kind for p in pairs] == ["vote", "written"]
    assert pairs[1] == PreferencePair("Why?", "Better.", beaten, "written", task_id=7, annotation_id=1, annotator_id=5)


@pytest.mark.parametrize("regions", [(), (TIE,), (BOTH_BAD,)])
def test_a_written_answer_without_a_winner_beats_both_with_half_a_vote_each(regions: tuple[dict[str, Any], ...]) -> None:
    dropped: Counter[str] = Counter()
    pairs = pairs_of_task(task(vote_with(WRITTEN, *regions)), FULL, dropped=dropped, ties="drop")
    written = PreferencePair("Why?", "Better.", "Left.", "written", 0.5, task_id=7, annotation_id=1, annotator_id=5)
    assert pairs == [written, replace(written, rejected="Right.")]
    assert sum(dropped.values()) == len(regions)


@pytest.mark.parametrize("text", ["Left.", " Right.\n"])
def test_a_written_answer_that_was_shown_is_counted_and_the_vote_stays(text: str) -> None:
    dropped: Counter[str] = Counter()
    copied = tag_result("better_answer", "textarea", {"text": [text]})
    assert [p.kind for p in pairs_of_task(task(vote_with(copied, side="left")), FULL, dropped=dropped)] == ["vote"]
    assert dropped == {"written answer same as shown": 1}


def test_an_answer_written_beside_two_identical_ones_beats_them_once() -> None:
    dropped: Counter[str] = Counter()
    same = {**DATA, "answer1": "Same.", "answer2": "Same. "}
    pairs = pairs_of_task(task(vote_with(WRITTEN, TIE), data=same), FULL, dropped=dropped)
    assert [(p.kind, p.weight, p.chosen) for p in pairs] == [("written", 1.0, "Better.")]
    assert dropped == {"identical answers": 1}


# What was recorded


def test_seven_recorded_judgements_give_their_pairs() -> None:
    layout = LabelingLayout.from_label_config(JUDGED["label_config"])
    dropped: Counter[str] = Counter()
    pairs_by_name = {name: pairs_of_task(recorded, layout, dropped=dropped) for name, recorded in JUDGED["tasks"].items()}
    summaries = {
        name: [(p.kind, p.weight, p.chosen_side, p.suggested_side) for p in pairs] for name, pairs in pairs_by_name.items()
    }
    assert summaries == {
        "left": [("vote", 1, "left", "left")],
        "right": [("vote", 1, "right", "left")],
        "tie": [("tie", 0.5, "left", "left"), ("tie", 0.5, "right", "left")],
        "both_bad": [("both_bad", 0.5, "left", "left"), ("both_bad", 0.5, "right", "left")],
        "strength_and_written": [("vote", 1, "left", "left"), ("written", 1, None, "left")],
        "written_alone": [("written", 0.5, None, "left")] * 2,
        "skipped": [],
    }
    assert dropped == {"skipped": 1}
    pairs = [pair for pairs in pairs_by_name.values() for pair in pairs]
    assert {(p.suggested_version, p.annotator_id) for p in pairs} == {("v1-20260101-000000", 1)}
    assert [p.is_ground_truth for p in pairs_by_name["right"]] == [True]
    assert all(p.judged_at and p.judged_at.startswith("2026-") and p.lead_seconds and p.lead_seconds > 0 for p in pairs)


# What becomes no pair


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


def test_judgements_of_a_control_that_the_config_no_longer_has_are_counted_apart() -> None:
    old = {"from_name": "pw", "to_name": "pw", "type": "pairwise", "value": {"selected": "left"}}
    dropped: Counter[str] = Counter()
    annotations = [vote(None, result=[old]), vote("right"), vote(None), vote(None, result=[old], was_cancelled=True)]
    assert [p.chosen_side for p in pairs_of_task(task(*annotations), LAYOUT, dropped=dropped)] == ["right"]
    assert dropped == {"judged by another control": 1, "empty": 1, "skipped": 1}


def test_a_tie_from_before_the_verdict_was_taken_off_the_page_is_counted_apart() -> None:
    layout = LabelingLayout.from_label_config((REPOSITORY / "label_config.xml").read_text(encoding="utf-8"))
    without = replace(layout, verdict=None, control_names=layout.control_names - {"verdict"})
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(vote_with(TIE)), without, dropped=dropped) == []
    assert dropped == {"judged by another control": 1}


def test_a_wish_for_new_answers_is_no_judgement_but_may_hold_a_written_answer() -> None:
    wants = {**TIE, "value": {"choices": ["new_answers"]}}
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(vote_with(wants)), FULL, dropped=dropped) == []
    assert dropped == {"new answers wanted": 1}
    assert {pair.kind for pair in pairs_of_task(task(vote_with(wants, WRITTEN)), FULL, dropped=dropped)} == {"written"}


def test_a_verdict_that_is_not_understood_is_counted_apart_and_never_turned_to_the_lit_side() -> None:
    german, unsure = ({**TIE, "value": {"choices": [words]}} for words in ("Ganz klar B", "Not sure"))
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(vote_with(german, side="left"), vote_with(unsure, side="left")), FULL, dropped=dropped) == []
    assert dropped == {"verdict not understood": 1, "unsure": 1}
    written = pairs_of_task(task(vote_with(german, WRITTEN, side="left")), FULL, dropped=dropped)
    assert {(pair.kind, pair.weight) for pair in written} == {("written", 0.5)}, "it beats both, as nobody knows which was chosen"
    assert dropped == {"verdict not understood": 2, "unsure": 1}


def test_an_answer_that_is_a_number_is_judged_as_it_is_shown() -> None:
    dropped: Counter[str] = Counter()
    (made,) = pairs_of_task(task(vote("right"), data={"prompt": 2, "answer1": 4.0, "answer2": 5}), LAYOUT, dropped=dropped)
    assert (made.prompt, made.chosen, made.rejected) == ("2", "5", "4")
    assert not dropped


@pytest.mark.parametrize("result", [None, "left", 7, {}, [None], [[]], ["x"], [{"from_name": ["comparison"], "value": 3}]])
def test_a_malformed_result_is_empty(result: object) -> None:
    dropped: Counter[str] = Counter()
    assert pairs_of_task(task(vote("left", result=result), vote("right")), LAYOUT, dropped=dropped)[0].chosen == "Right."
    assert dropped == {"empty": 1}


def test_ground_truth_replaces_the_other_votes_of_its_task_alone_if_preferred() -> None:
    judged = task(vote("left"), vote("left", id=2), vote("right", id=3, ground_truth=True), vote(None, id=4))
    dropped: Counter[str] = Counter()
    preferred = pairs_of_task(judged, LAYOUT, dropped=dropped, prefer_ground_truth=True)
    assert [(p.annotation_id, p.is_ground_truth) for p in preferred] == [(3, True)]
    assert dropped == {"not ground truth": 3}
    assert len(pairs_of_task(judged, LAYOUT, dropped=Counter())) == 3
    ordinary = task(vote("left"), vote("left", id=2, ground_truth=True, was_cancelled=True))
    assert len(pairs_of_task(ordinary, LAYOUT, dropped=Counter(), prefer_ground_truth=True)) == 1


def test_half_an_emoji_can_be_written_to_disk(tmp_path: Path) -> None:
    halves = {key: f"{text}\ud83d" for key, text in DATA.items()}
    written = tag_result("better_answer", "textarea", {"text": ["Better\udc00"]})
    pairs = pairs_of_task(task(vote_with(written, side="left"), data=halves), FULL, dropped=Counter())
    write_pairs(pairs, tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    assert {text[-1] for p in pairs for text in (p.prompt, p.chosen, p.rejected)} == {"\N{REPLACEMENT CHARACTER}"}


# On disk


def test_pairs_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(
            "line one\nline two\u2028and three",
            '"quoted"',
            "שלום 👩‍👩‍👧",
            task_id=1,
            annotation_id=2,
            suggested_version="v1-20260101-000000",
        ),
        PreferencePair("", "a", "b"),
    ]
    write_pairs(pairs, tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    assert len((tmp_path / "pairs.jsonl").read_bytes().splitlines()) == 2


def test_foreign_keys_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "p", "chosen": "c", "rejected": "r", "source": 3})
    (tmp_path / "pairs.jsonl").write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    assert read_pairs(tmp_path / "pairs.jsonl") == [PreferencePair("p", "c", "r")] * 2


CONVERSATION = LabelingLayout(
    "comparison", ("answer1", "answer2"), ("answer1", "answer2"), "chat", (None, None), message_keys=MessageKeys()
)


def test_a_conversation_is_one_prompt_of_a_pair_and_is_read_back_as_it_was(tmp_path: Path) -> None:
    said = [("user", "Name a tree."), ("assistant", "Oak."), ("user", "Another one.")]
    chat = [{"role": role, "content": text} for role, text in said]
    dropped: Counter[str] = Counter()

    (made,) = pairs_of_task(task(vote("right"), data={**DATA, "chat": chat}), CONVERSATION, dropped=dropped)
    nothing = pairs_of_task(task(vote("right"), data={**DATA, "chat": "Hi."}), CONVERSATION, dropped=dropped)

    assert made.prompt == tuple(Turn(*turn) for turn in said)
    assert (made.chosen, made.rejected) == (DATA["answer2"], DATA["answer1"])
    assert (nothing, dropped) == ([], {"missing prompt": 1})
    write_pairs([made], tmp_path / "pairs.jsonl")
    assert read_pairs(tmp_path / "pairs.jsonl") == [made]
