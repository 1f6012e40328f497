import copy
import dataclasses
import math
import threading
from typing import Any

import numpy as np
import pytest

from preference.errors import StudioNotFound
from preference.labelling.pairs import Kind, PreferencePair
from preference.report_card.figures import SuspectLabel
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.studio_double import KEY, StudioDouble
from trainer.reporting.suspect_labels import META_KEY, REFUSED, mark_suspects, most_suspect

URL = "http://studio:8080/projects/3"


def votes(count: int) -> list[PreferencePair]:
    return [
        PreferencePair(f"prompt {i}", "yes", "no", task_id=100 + i, annotation_id=200 + i, annotator_id=i % 3)
        for i in range(count)
    ]


def suspects_of(pairs: list[PreferencePair], gaps: Any, **options: Any) -> list[SuspectLabel]:
    return [*most_suspect(pairs, gaps, **{"temperature": 1.0, "project_url": URL, **options})]


def test_the_labels_that_the_models_contradict_most_come_first_with_their_links() -> None:
    suspects = suspects_of(votes(6), [2.0, -3.0, 2.0, -5.0, 2.0, 2.0], temperature=2.0)

    assert [suspect.task for suspect in suspects] == [103, 101]
    assert suspects[0] == SuspectLabel(
        task=103, annotation=203, annotator=0, gap=-5.0, probability=round(1 / (1 + math.exp(2.5)), 4),
        link="http://studio:8080/projects/3/data?task=103",
    )  # fmt: skip


def test_a_model_that_is_hardly_surer_of_wrong_labels_than_of_right_ones_suspects_none() -> None:
    assert suspects_of(votes(4), [2.0, 2.0, 2.0, -0.5]) == []


def test_a_model_that_knows_nothing_suspects_nobody() -> None:
    assert suspects_of(votes(300), np.random.default_rng(0).normal(size=300) * 0.1) == []


def test_the_list_is_bounded() -> None:
    gaps = np.random.default_rng(0).normal(size=300) * 3

    assert len(suspects_of(votes(300), gaps)) == 20
    assert len(suspects_of(votes(300), gaps, most=5)) == 5


def test_ties_and_written_answers_are_no_labels_to_suspect() -> None:
    kinds: tuple[Kind, ...] = ("tie", "both_bad", "written", "vote")
    pairs = [dataclasses.replace(pair, kind=kind) for pair, kind in zip(votes(4), kinds, strict=True)]

    assert [suspect.task for suspect in suspects_of(pairs, [-3.0] * 4)] == [103]


def test_a_gap_that_is_no_number_is_passed_over() -> None:
    assert [suspect.task for suspect in suspects_of(votes(3), [math.nan, -2.0, 1.0])] == [101]


def test_without_gaps_or_pairs_nobody_is_suspected() -> None:
    assert suspects_of(votes(3), None) == []
    assert suspects_of([], []) == []


def test_a_label_without_a_task_has_no_link() -> None:
    (suspect,) = suspects_of([PreferencePair("p", "yes", "no")], [-3.0])

    assert (suspect.task, suspect.link) == (None, None)


# Marks in Label Studio


def suspect_of(task_id: int, **changes: Any) -> SuspectLabel:
    return SuspectLabel(**{"task": task_id, "annotation": 5, "annotator": 1, "gap": -2.0, "probability": 0.1, **changes})


def test_suspects_are_marked_and_all_else_in_the_task_stays(studio: StudioDouble, project: LabelStudioProject) -> None:
    data = {"prompt": "Why?", "answer1": "a", "answer2": "b", "source": "kept"}
    task_id, other = studio.add_tasks(project.id, data, data, meta={"pairloop": {"seed": 3}})
    before = copy.deepcopy(studio.tasks[other])

    counts = mark_suspects(project, [suspect_of(task_id), suspect_of(task_id, gap=-1.0)], version="v4")

    assert counts == {"marked": 1}
    assert studio.tasks[task_id]["data"] == data
    assert studio.tasks[task_id]["meta"] == {
        "pairloop": {"seed": 3},
        "pairloop_suspect": {"annotation": 5, "annotator": 1, "gap": -2.0, "probability": 0.1, "version": "v4"},
    }, "of two labels of one task the worse one is named"
    assert studio.tasks[other] == before


def test_a_task_that_is_no_longer_suspect_loses_its_mark_alone(studio: StudioDouble, project: LabelStudioProject) -> None:
    first, second, third = studio.add_tasks(project.id, *[{"prompt": "Why?"}] * 3, meta={"mine": 1})
    mark_suspects(project, [suspect_of(first), suspect_of(second)], version="v4")

    counts = mark_suspects(project, [suspect_of(second)], version="v5", marked_before=[first, second, third])

    assert counts == {"mark removed": 1, "marked": 1, "without a mark": 1}
    assert studio.tasks[first]["meta"] == studio.tasks[third]["meta"] == {"mine": 1}
    assert studio.tasks[second]["meta"]["pairloop_suspect"]["version"] == "v5"


def test_what_is_written_into_a_tasks_meta_meanwhile_stays(studio: StudioDouble, project: LabelStudioProject) -> None:
    marked, unmarked = studio.add_tasks(project.id, *[{"prompt": "Why?"}] * 2, meta={"mine": 1})
    mark_suspects(project, [suspect_of(unmarked)], version="v4")
    num_before = len(studio.requests)

    def ask(request: str) -> None:  # once the tasks were listed
        if len(studio.requests) - num_before > 1:
            for task_id in (marked, unmarked):
                studio.tasks[task_id]["meta"]["pairloop_new_answers"] = {"in_task": 99}

    studio.on_request = ask

    mark_suspects(project, [suspect_of(marked)], version="v5", marked_before=[unmarked])

    for task_id, is_marked in ((marked, True), (unmarked, False)):
        meta = studio.tasks[task_id]["meta"]
        assert (meta["mine"], meta["pairloop_new_answers"], "pairloop_suspect" in meta) == (1, {"in_task": 99}, is_marked)


def test_marking_twice_writes_once(studio: StudioDouble, project: LabelStudioProject) -> None:
    task_id = studio.add_tasks(project.id, {"prompt": "Why?"})[0]
    mark_suspects(project, [suspect_of(task_id)], version="v4")

    assert mark_suspects(project, [suspect_of(task_id)], version="v4") == {"marked already": 1}
    assert studio.requests.count(f"PATCH /api/tasks/{task_id}/") == 1


def test_a_deleted_task_is_counted_and_the_others_are_marked(studio: StudioDouble, project: LabelStudioProject) -> None:
    first, second = studio.add_tasks(project.id, {"prompt": "Why?"}, {"prompt": "How?"})

    def delete(request: str) -> None:
        if request == f"PATCH /api/tasks/{first}/":
            studio.tasks.pop(first, None)

    studio.on_request = delete

    assert mark_suspects(project, [suspect_of(9999), suspect_of(first), suspect_of(second)], version="v4") == {
        "deleted": 2,
        "marked": 1,
    }
    with pytest.raises(StudioNotFound):
        project.store_meta(9999, {})


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_task_that_label_studio_does_not_mark_is_counted_and_the_others_are_marked(
    studio: StudioDouble, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    stopped = threading.Event()
    stopped.set()  # no call is repeated
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    project = LabelStudioProject(settings.studio, studio.add_project(), stop=stopped)
    first, second = studio.add_tasks(project.id, {"prompt": "Why?"}, {"prompt": "How?"})
    studio.on_request = lambda request: studio.failures.extend([status] if request == f"PATCH /api/tasks/{first}/" else [])

    assert mark_suspects(project, [suspect_of(first), suspect_of(second)], version="v4") == {REFUSED: 1, "marked": 1}
    assert f"project {project.id}: task {first} cannot be marked: Label Studio " in caplog.text


def test_a_mark_is_stored_whatever_a_damaged_card_says(studio: StudioDouble, project: LabelStudioProject) -> None:
    studio.is_on_postgresql = True
    (task,) = studio.add_tasks(project.id, {"prompt": "Why?"})

    assert mark_suspects(project, [suspect_of(task, annotator="an\0na\ud83d")], version="v4") == {"marked": 1}
    assert studio.tasks[task]["meta"][META_KEY]["annotator"] == "anna\N{REPLACEMENT CHARACTER}"


def test_nobody_suspected_asks_label_studio_nothing(studio: StudioDouble, project: LabelStudioProject) -> None:
    assert mark_suspects(project, [suspect_of(None)], version="v4") == {}  # type: ignore[arg-type]
    assert studio.requests == []
