"""Three people judge a part of the tasks twice, in a real Label Studio."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.connecting.overlap import Overlap, set_overlap
from backend.new_tasks.new_answers import ask_again
from demo.stack import Stack
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.tabs import THIRD_LOOK
from tests.support.lab import CPU
from tests.support.loop_stack import LABEL_CONFIG, call
from tests.support.person import Person
from trainer.people.agreement import people_figures
from trainer.people.disagreements import list_disagreements
from trainer.people.judgements import judgements_of
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)


@pytest.fixture
def shared(settings: Settings) -> LabelStudioProject:
    """A project of ten tasks, of which two are judged by two people each; v1 suggested the left answer of each."""
    project = Account(settings.studio).create_project(title="Overlap", label_config=LABEL_CONFIG)
    ids = project.import_tasks([{"data": {"prompt": f"p{n}", "answer1": "a", "answer2": "b"}} for n in range(10)])
    predict(project, ids, "v1")
    project.update(sampling="Uncertainty sampling")
    assert list(set_overlap(project, Overlap(0.2, 2), state=project.read())) == [
        "set the overlap: 2 people judge each of 20 % of the tasks",
        f'made the tab "{THIRD_LOOK}"',
    ]
    return project


def predict(project: LabelStudioProject, ids: list[int], version: str) -> None:
    """As the filler does: one of each open task, then the version is shown."""
    result = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
    rows = [
        {"task": each, "result": result, "score": 0.5 + place / 100, "model_version": version} for place, each in enumerate(ids)
    ]
    assert project.store_predictions(rows) == len(ids)
    project.update(model_version=version)


@pytest.fixture
def people(stack: Stack, shared: LabelStudioProject) -> Iterator[list[Person]]:
    everyone = [Person(stack, f"{name}-{time.time_ns()}", shared.id) for name in ("ann", "ben", "cem")]
    yield everyone
    for person in everyone:
        person.close()


def seen(task: dict[str, Any]) -> list[str]:
    """The versions whose suggestions a page shows."""
    return [prediction["model_version"] for prediction in task["predictions"]]


def test_who_comes_second_sees_what_the_first_saw_or_nothing_and_a_third_decides(
    stack: Stack, settings: Settings, shared: LabelStudioProject, people: list[Person], tmp_path: Path
) -> None:
    ann, ben, cem = people
    every = {
        task["id"]: task for task in call(stack, "GET", f"/api/tasks/?project={shared.id}&fields=all&page_size=100")["tasks"]
    }
    twice = judged_twice(stack, every)
    assert len(twice) == 2
    first_seen = {}
    for _ in every:
        task = ann.next_task()
        first_seen[task["id"]] = seen(task)
        ann.judge(task, "left")
    assert set(first_seen) == set(every) and all(versions == ["v1"] for versions in first_seen.values())
    state = shared.read()
    assert (state["num_tasks_with_annotations"], state["total_annotations_number"]) == (10, 10), (
        "judged from the first judgement on"
    )
    assert not list(shared.unscored_tasks("v2")), "a task with one of two judgements is not scored again"

    task = ben.next_task()
    assert task["id"] in twice and seen(task) == ["v1"], "the same version is still shown"
    ben.judge(task, "left")
    agreed = task["id"]
    (new,) = shared.import_tasks([{"data": {"prompt": "new", "answer1": "a", "answer2": "b"}}])
    predict(shared, [new], "v2")  # a promotion: open tasks are scored, and v2 is shown
    task = ben.next_task()
    (other,) = judged_twice(stack, every) - {agreed}  # drawn anew at each import, among those that somebody judged
    assert task["id"] == other, "what is begun comes before what is uncertain"
    assert seen(task) == [], "the first saw v1, which is shown no more"
    ben.judge(task, "right")

    folder = ProjectFolder(settings.model_dir / "overlap", shared.id)
    context = RoundContext(shared, folder, settings, Extractors(tmp_path, CPU))
    reading = read_pairs(context)
    people_now = people_figures(judgements_of(reading.pairs))
    assert (people_now.num_annotators, people_now.num_shared) == (2, 2)
    list_disagreements(shared, reading.pairs)
    assert in_tab(stack, shared) == [other]
    cem.judge({"id": other, "predictions": []}, "right")
    reading = read_pairs(context)
    list_disagreements(shared, reading.pairs)
    assert in_tab(stack, shared) == [], "most people chose the right answer"
    votes = Counter((pair.task_id, pair.chosen_side) for pair in reading.pairs)
    assert votes[other, "right"] == 2 and votes[other, "left"] == 1, "every vote counts"


def test_new_answers_that_one_of_two_asks_for_come_once_and_the_other_still_judges_the_old_ones(
    stack: Stack, settings: Settings, shared: LabelStudioProject, people: list[Person], tmp_path: Path
) -> None:
    ann, ben, _ = people
    # With the new task, Label Studio draws anew which tasks overlap: all of them do, so that none is given back to one person.
    list(set_overlap(shared, Overlap(1.0, 2), state=shared.read()))
    task = ann.next_task()
    assert judged_twice(stack, [task["id"]])
    folder, problems = ProjectFolder(tmp_path, shared.id), ProjectProblems(tmp_path, "filler", logging.getLogger())
    folder.create()
    num_tasks = shared.num_tasks()
    ann.judge(task, "new_answers")

    assert ask_again(shared, folder, LAYOUT, problems) == 1
    while (again := ben.next_task())["id"] != task["id"]:
        ben.judge(again, "left")
    assert again["data"]["answer1"] == "a", "the old answers, which the first one saw, too"
    ben.judge(again, "new_answers")
    assert ask_again(shared, folder, LAYOUT, problems) == 0
    assert shared.num_tasks() == num_tasks + 1
    (judged,) = shared.annotated_among([task["id"]])
    dropped: Counter[str] = Counter()
    assert pairs_of_task(judged, LAYOUT, dropped=dropped) == [] and dropped == {"new answers wanted": 2}


def judged_twice(stack: Stack, ids: Iterable[int]) -> set[int]:
    """Those that two people are to judge."""
    return {task_id for task_id in ids if call(stack, "GET", f"/api/tasks/{task_id}/")["overlap"] == 2}


def in_tab(stack: Stack, project: LabelStudioProject) -> list[int]:
    """What the tab shows, as its page asks for it."""
    (tab,) = (tab for tab in call(stack, "GET", f"/api/dm/views/?project={project.id}") if tab["data"].get("title") == THIRD_LOOK)
    listed = call(stack, "GET", f"/api/tasks/?project={project.id}&view={tab['id']}&page_size=100")
    return [task["id"] for task in listed["tasks"]]
