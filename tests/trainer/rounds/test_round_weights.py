"""ANNOTATOR_WEIGHTS in a round: whose votes count less in training, and what that changes."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from preference.labelling.pairs import majority
from preference.projects.versions import Versions
from preference.reward_model.model import load_saved
from tests.support.judged_pairs import judged
from tests.support.lab import CPU, Lab, judged_tasks
from tests.support.tolerance import TRAINED_REWARDS, assert_close


def two_people(num_tasks: int = 80) -> list[dict[str, Any]]:
    """Ann (1) chooses the good answer of most tasks; Ben (2), whose tasks are every third, the other one."""
    tasks = judged_tasks(num_tasks, flipped=lambda prompt: hash_of(prompt) == 0)
    for task in tasks:
        task["annotations"][0]["completed_by"] = 2 if hash_of(task["data"]["prompt"]) == 0 else 1
    return tasks


def hash_of(prompt: str) -> int:
    return sum(map(ord, prompt)) % 3


def test_a_weight_of_0_is_as_if_somebody_had_not_judged_in_training_and_changes_nothing_of_who_is_right(lab: Lab) -> None:
    tasks = two_people()
    plain = lab.card(lab.round(tasks))
    lab.settings = lab.settings.replace(annotator_weights="BEN@example.org:0")
    card = lab.card(lab.round(tasks))

    assert (card.num_train_pairs, card.num_holdout_pairs) == (plain.num_train_pairs, plain.num_holdout_pairs)
    effect = card.report.weights
    assert plain.report.weights is None and effect is not None
    assert effect.by_annotator == {"2": 0.0}
    assert effect.weighted is not None and effect.unweighted is not None
    assert effect.weighted.value == card.metrics.accuracy and effect.weighted.count == card.num_holdout_pairs
    assert effect.unweighted.value == plain.metrics.accuracy, "what the same votes give if all count alike"
    assert "example.org" not in card.to_json(), "a card says nobody's address"
    weighted = load_saved(Versions(lab.folder).path(card.version), extractor=lab.extractors, device=CPU)
    alike = load_saved(Versions(lab.folder).path(plain.version), extractor=lab.extractors, device=CPU)
    texts, prompts = [task["data"]["answer1"] for task in tasks], [task["data"]["prompt"] for task in tasks]
    with pytest.raises(AssertionError):
        assert_close(weighted.score(prompts, texts), alike.score(prompts, texts), within=TRAINED_REWARDS)


def test_whom_nobody_knows_is_named_once_and_who_did_not_judge_makes_no_difference(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.rounds")
    lab.settings = lab.settings.replace(annotator_weights="bne@example.org:.5,12:2,2:.5,Ann Lee:1")

    card = lab.card(lab.round(judged_tasks(60)))

    (warning,) = (record.getMessage() for record in caplog.records if "ANNOTATOR_WEIGHTS" in record.getMessage())
    assert warning.startswith(
        "project 7: ANNOTATOR_WEIGHTS names bne@example.org, 12, whom Label Studio does not know; give each one's number"
    )
    assert "project 7: annotator 2 has a weight, and no judgement that is trained on: it makes no difference" in caplog.messages
    assert card.report.weights is not None and card.report.weights.by_annotator == {}


def test_other_weights_are_something_new_to_train_on(lab: Lab) -> None:
    tasks = two_people()
    version = lab.round(tasks).version
    assert lab.round(tasks).reason.startswith(f"nothing is new since {version}")

    lab.settings = lab.settings.replace(annotator_weights="2:.5")
    assert lab.round(tasks).version not in (None, version)
    assert lab.round(tasks).outcome == "skipped"


def test_if_nobody_counts_the_round_says_so(lab: Lab) -> None:
    lab.settings = lab.settings.replace(annotator_weights="1:0")
    ended = lab.round(judged_tasks(60))
    assert (ended.outcome, ended.reason) == (
        "failed", "ANNOTATOR_WEIGHTS leaves no vote to train on; give somebody who judged a weight above 0.",
    )  # fmt: skip


def test_who_is_right_is_what_most_votes_say_whatever_they_weigh_in_training() -> None:
    votes = judged((1, 1, "left"), (1, 2, "left"), (1, 3, "right"))
    (merged,) = majority([replace(pair, trust=5.0 if pair.annotator_id == 3 else 0.1) for pair in votes])
    assert merged.chosen_side == "left" and merged.weight == 1.0
