import dataclasses
from pathlib import Path

import pytest

from preference.labelling.pairs import PreferencePair
from preference.report_card.raters import RaterFigures, rater_path, write_rater
from trainer.rating.questions import Reply
from trainer.rating.rated_pairs import rated_pairs, training_rater
from trainer.rating.replies import Replies

VOTE = PreferencePair("Why?", "Because.", "So.", task_id=7, annotation_id=1, annotator_id=2, margin=0.5)


@pytest.fixture
def replies(tmp_path: Path) -> Replies:
    write_rater(tmp_path, RaterFigures(rater="old", judged_at="2026-11-29"))
    write_rater(tmp_path, RaterFigures(rater="tiny", judged_at="2026-11-30"))
    return Replies(rater_path(tmp_path, "tiny", ".replies.jsonl"))


def keep(replies: Replies, pair: PreferencePair, *, chosen_first: Reply, rejected_first: Reply) -> None:
    replies.keep(pair.prompt, pair.chosen, pair.rejected, chosen_first)
    replies.keep(pair.prompt, pair.rejected, pair.chosen, rejected_first)


def rated(folder: Path, *pairs: PreferencePair, weight: float = 0.25) -> list[PreferencePair]:
    rater = training_rater(folder, weight)
    assert rater is not None and rater.name == "tiny"
    return rated_pairs(pairs, rater)


def test_without_a_weight_or_a_rater_nobody_is_trained_on(tmp_path: Path, replies: Replies) -> None:
    assert training_rater(tmp_path, 0) is None
    assert training_rater(tmp_path / "other", 0.5) is None


@pytest.mark.parametrize(
    ("chosen_first", "rejected_first", "better"),
    [("first", "second", "Because."), ("second", "first", "So."), ("first", "first", None), ("first", "unreadable", None)],
)
def test_a_side_in_both_orders_is_a_pair_of_little_weight_and_of_no_person(
    tmp_path: Path, replies: Replies, chosen_first: Reply, rejected_first: Reply, better: str | None
) -> None:
    keep(replies, VOTE, chosen_first=chosen_first, rejected_first=rejected_first)
    found = rated(tmp_path, VOTE, dataclasses.replace(VOTE, annotation_id=2))  # two votes, one comparison
    if better is None:
        assert found == []
        return
    (pair,) = found
    assert (pair.chosen, pair.kind, pair.weight, pair.margin) == (better, "rated", 0.25, 0.0)
    assert (pair.annotation_id, pair.annotator_id, pair.is_judged) == (None, None, False)


def test_what_was_not_asked_and_what_people_wrote_gives_none_and_a_ranking_weighs_one_opinion(
    tmp_path: Path, replies: Replies
) -> None:
    written = dataclasses.replace(VOTE, kind="written")
    keep(replies, written, chosen_first="first", rejected_first="second")
    assert rated(tmp_path, written, dataclasses.replace(VOTE, prompt="When?")) == []
    ranked = [dataclasses.replace(VOTE, kind="ranking", weight=1 / 3, chosen=f"{n}", rejected=f"{n + 1}") for n in range(3)]
    for pair in ranked:
        keep(replies, pair, chosen_first="first", rejected_first="second")
    assert sum(pair.weight for pair in rated(tmp_path, *ranked)) == pytest.approx(0.25)


def test_another_reply_or_weight_is_another_training(tmp_path: Path, replies: Replies) -> None:
    rater, heavier = training_rater(tmp_path, 0.25), training_rater(tmp_path, 0.5)
    assert rater is not None and heavier is not None
    before = rater.key
    assert before != heavier.key
    keep(replies, VOTE, chosen_first="first", rejected_first="second")
    assert rater.key != before
