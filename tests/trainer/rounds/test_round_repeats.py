"""Comparisons that people judged twice, in a round: nothing but the agreement with themselves knows of the second time."""

import dataclasses
from typing import Any

import pytest

from preference.labelling.controls.repeats import Repeat, Shown
from preference.projects.versions import Versions
from preference.reward_model.model import load_saved
from tests.support.lab import CPU, JudgedProject, Lab, judged_tasks, vote
from tests.support.tolerance import TRAINED_REWARDS, assert_close
from trainer.rounds.reading import read_pairs
from trainer.rounds.reading_context import ReadingContext


def repeats(tasks: list[dict[str, Any]], *, num_changed: int) -> list[dict[str, Any]]:
    """A copy of each of these tasks with its sides exchanged, judged by the same person; so many with another outcome."""
    copies = []
    for number, task in enumerate(tasks):
        data, (annotation,) = task["data"], task["annotations"]
        side = annotation["result"][0]["value"]["selected"]
        same = "left" if side == "right" else "right"
        again = {**vote(side if number < num_changed else same), "id": 500 + number}
        copies.append(
            {
                "id": 500 + number,
                "data": {**data, "answer1": data["answer2"], "answer2": data["answer1"]},
                "meta": Repeat(task["id"], annotation["id"], Shown()).to_meta(),
                "annotations": [again],
                "predictions": [],
            }
        )
    return copies


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_round_is_the_same_with_them_but_for_how_far_people_agree_with_themselves(lab: Lab) -> None:
    tasks = judged_tasks(60)
    without = lab.card(lab.round(tasks))
    first = load_saved(Versions(lab.folder).path(without.version), extractor=lab.extractors, device=CPU)
    again = repeats(tasks[:20], num_changed=5)

    skipped = lab.round([*tasks, *again])
    assert skipped.outcome == "skipped" and skipped.reason.startswith(f"nothing is new since {without.version}")

    lab.settings = lab.settings.replace(seed=6)  # another round over the same
    card = lab.card(lab.round([*tasks, *again]))
    second = load_saved(Versions(lab.folder).path(card.version), extractor=lab.extractors, device=CPU)
    assert (card.num_train_pairs, card.num_holdout_pairs) == (without.num_train_pairs, without.num_holdout_pairs)
    assert card.dropped == {"judged again": 20}
    texts = [task["data"]["answer1"] for task in tasks]
    prompts = [task["data"]["prompt"] for task in tasks]
    assert_close(first.score(prompts, texts), second.score(prompts, texts), within=TRAINED_REWARDS)
    assert card.metrics.accuracy == without.metrics.accuracy
    assert card.report.people is not None and without.report.people is not None
    (now,), (before,) = card.report.people.annotators, without.report.people.annotators
    assert now.with_self is not None
    assert (now.with_self.value, now.with_self.count) == (0.75, 20)
    assert dataclasses.replace(now, with_self=before.with_self) == before


def test_no_reader_of_judgements_takes_them_for_others(lab: Lab) -> None:
    tasks = judged_tasks(40)
    again = repeats(tasks[:20], num_changed=5)
    for task in again:  # as a blind judgement is, and as a duel's answers are
        task["predictions"] = [{"id": 900, "model_version": "v1", "result": [], "score": 0.5}]
        task["annotations"][0]["parent_prediction"] = 900
        task["meta"]["pairloop"] = {"duel": {"new": "g1", "other": "base", "new_in": "answer1"}}
    lab.settings = lab.settings.replace(control_percent=50)

    plain, reading = (
        read_pairs(ReadingContext(JudgedProject(each), lab.folder, lab.settings)) for each in (tasks, [*tasks, *again])
    )

    assert reading.pairs == plain.pairs and reading.holdout == plain.holdout
    assert reading.evidence == plain.evidence
    assert reading.blind == [] and reading.duels == []
    assert len(reading.again) == 20 and {pair.task_id for pair in reading.again} == {task["id"] for task in tasks[:20]}
