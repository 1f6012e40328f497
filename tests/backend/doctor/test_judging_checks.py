"""What doctor says of how many people judge a task, and whose word counts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preference.projects.versions import Versions
from preference.report_card.figures import ReportFigures
from preference.report_card.people_figures import AnnotatorFigures, People
from tests.support.cards import CARD
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_doctor_explains_the_overlap(clinic: Clinic) -> None:
    found = clinic.doctor()["overlap"]["found"]
    assert found.startswith(
        "one person judges each task, so nobody knows how often people agree; pairloop-backend connect --project "
    )

    assert clinic.run("connect", "--project", clinic.id, "--overlap", "0.2").exit_code == 0

    found = clinic.doctor()["overlap"]["found"]
    assert found.startswith("2 people judge each of 20 % of the tasks; whoever comes second sees what the first saw, or nothing")


def judge(clinic: Clinic, task_id: int, **fields: Any) -> None:
    clinic.studio.annotate(task_id, [])
    clinic.studio.tasks[task_id]["annotations"][-1].update(fields)


def test_ground_truth_that_outweighs_people_is_a_cross_if_it_alone_is_to_count(clinic: Clinic) -> None:
    both, reviewed = clinic.studio.add_tasks(clinic.id, *[{"prompt": "p", "answer1": "a", "answer2": "b"}] * 2)
    judge(clinic, both, ground_truth=True)  # as an import's are
    judge(clinic, reviewed, ground_truth=True)
    assert clinic.doctor(PREFER_GROUND_TRUTH="true")["ground truth"]["ok"]

    for _ in range(2):
        judge(clinic, both, ground_truth=False)

    row = clinic.doctor(PREFER_GROUND_TRUTH="true")["ground truth"]
    assert (row["ok"], row["found"]) == (
        False, "PREFER_GROUND_TRUTH leaves out 2 judgements, whose tasks have one that is ground truth",
    )  # fmt: skip
    assert "Label Studio marks each imported judgement as ground truth" in row["fix"]
    assert clinic.doctor()["ground truth"]["ok"], "without the setting, all count alike"


def test_a_field_that_no_task_has_is_named_with_those_that_there_are(clinic: Clinic) -> None:
    assert clinic.doctor(SLICE_BY="topic")["slices"]["ok"], "there is no task yet"
    data = {"prompt": "p", "answer1": "a", "answer2": "b", "source": {"kind": "mail"}}
    clinic.studio.add_tasks(clinic.id, data, {**data, "topic": "law"})

    assert clinic.doctor(SLICE_BY="topic,source.kind")["slices"]["found"] == "accuracy is given by topic, source.kind"
    assert clinic.doctor()["slices"]["found"] == "accuracy is given by no field of tasks' data (SLICE_BY)"
    row = clinic.doctor(SLICE_BY="topics,source.kind")["slices"]
    assert (row["ok"], row["found"]) == (
        False,
        "SLICE_BY names topics, which none of the first 2 tasks has; their data has answer1, answer2, prompt, source, topic",
    )
    assert row["fix"] == "correct it, unless it is for another project"
    unread = clinic.doctor(SLICE_BY="the topic")["settings"]
    assert not unread["ok"] and "'the topic' should be a field of tasks' data, such as topic or source.kind" in unread["found"]


def test_doctor_says_what_comes_back(clinic: Clinic) -> None:
    found = "3 % of the judgements come back with their sides exchanged (0 wait now); nothing is trained on twice"
    assert clinic.doctor()["repeats"]["found"] == found
    assert clinic.doctor(REPEATS="0")["repeats"]["found"].startswith("no comparison comes back")


def test_somebody_with_a_weight_whom_nobody_knows_is_a_cross(clinic: Clinic) -> None:
    clinic.studio.members |= {7: "ben@example.com"}
    assert clinic.doctor()["weights"]["found"] == "all votes count alike in training (ANNOTATOR_WEIGHTS)"
    assert clinic.doctor(ANNOTATOR_WEIGHTS="7:0, Admin@example.com:.5")["weights"]["ok"]

    row = clinic.doctor(ANNOTATOR_WEIGHTS="7:0,bne@example.com:.5,12:2")["weights"]
    assert (row["ok"], row["found"]) == (
        False, "ANNOTATOR_WEIGHTS names bne@example.com, 12, whom Label Studio does not know",
    )  # fmt: skip


def test_who_left_the_organization_is_known_by_the_number_that_the_report_card_shows(clinic: Clinic, tmp_path: Path) -> None:
    rows = (AnnotatorFigures(annotator=12), AnnotatorFigures(annotator=None))
    draft = tmp_path / "draft"
    draft.mkdir()
    Versions(clinic.folder).publish(draft, replace(CARD, report=ReportFigures(people=People(annotators=rows))))

    assert clinic.doctor(ANNOTATOR_WEIGHTS="12:0")["weights"]["ok"]
    assert not clinic.doctor(ANNOTATOR_WEIGHTS="13:0")["weights"]["ok"]
