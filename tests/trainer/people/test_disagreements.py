"""Tasks without a majority are listed in Label Studio for a third look."""

from collections import Counter
from typing import Any

import pytest

from preference.errors import StudioError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from tests.support.lab import LABEL_CONFIG, JudgedProject, judged_tasks, vote
from trainer.people.disagreements import list_disagreements

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)


def judged(sides: list[str], task_id: int) -> dict[str, Any]:
    task = judged_tasks(task_id)[-1]
    votes = [{**vote(side), "id": 10 * task_id + place, "completed_by": place} for place, side in enumerate(sides)]
    return {**task, "annotations": votes}


def listed(project: JudgedProject) -> list[list[int]]:
    tasks = project.annotated_tasks()
    list_disagreements(project, [pair for task in tasks for pair in pairs_of_task(task, LAYOUT, dropped=Counter())])
    return project.tabs.filled


def test_tasks_without_a_majority_are_listed() -> None:
    sides = [["left", "right"], ["left", "left"], ["left"], ["left", "right", "left"], ["right", "left", "left", "right"]]

    assert listed(JudgedProject([judged(each, task_id) for task_id, each in enumerate(sides, 1)])) == [[1, 5]]


def test_what_a_third_person_decided_is_listed_no_more() -> None:
    assert listed(JudgedProject([judged(["left", "right", "right"], 1)])) == [[]]


def test_where_nobody_judged_what_another_did_no_tab_is_looked_for() -> None:
    assert listed(JudgedProject(judged_tasks(30))) == []


def test_no_round_is_lost_for_a_tab(caplog: pytest.LogCaptureFixture) -> None:
    project = JudgedProject([judged(["left", "right"], 1)])
    project.tabs.error = StudioError("Label Studio answers 404.")

    assert listed(project) == []
    assert caplog.messages == ["project 7: the tasks on which people disagree cannot be listed: Label Studio answers 404."]
