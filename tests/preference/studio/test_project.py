from datetime import UTC, datetime
from typing import Any

import pytest

from preference.labelling.label_config import LabelingLayout
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import is_annotated
from tests.conftest import SettingsFactory
from tests.support.studio_double import CUT, KEY, StudioDouble
from tests.support.studio_records import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
CHOICE = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]


def test_unanswered_tasks_are_listed_in_pages_by_id_judged_or_not(studio: StudioDouble, project: LabelStudioProject) -> None:
    empties: list[dict[str, str | None]] = [
        {"answer1": "", "answer2": ""},
        {},
        {"answer1": None, "answer2": "b"},
        {"answer1": "a", "answer2": ""},
        {"answer2": ""},
    ]
    ids = studio.add_tasks(project.id, *({"prompt": "p", **empty} for empty in empties))
    studio.add_tasks(project.id, {"prompt": "p", "answer1": "a", "answer2": "b"})
    studio.add_tasks(studio.add_project(), {"prompt": "of another project"})
    studio.annotate(ids[1], CHOICE)
    skipped = studio.add_tasks(project.id, {"prompt": "p"})
    studio.annotate(skipped[0], [], is_skip=True)

    pages = list(project.unanswered_tasks(LAYOUT, page_size=2))

    assert [[task["id"] for task in page] for page, _ in pages] == [[ids[0], ids[1]], [ids[2], ids[3]], [ids[4], *skipped]]
    assert [num_more for _, num_more in pages] == [4, 2, 0]
    assert [task["id"] for page, _ in pages for task in page if is_annotated(task)] == [ids[1], *skipped]
    assert project.num_unanswered(LAYOUT) == 6


def test_answers_are_looked_for_where_their_paths_lead(studio: StudioDouble, settings: Settings) -> None:
    config = LABEL_CONFIG.replace("$answer1", "$out.left").replace("$answer2", "$answers[1].text")
    project = LabelStudioProject(settings.studio, studio.add_project(config))
    listed = [{"text": ""}, {"text": "b"}]
    datas: list[dict[str, Any]] = [
        {"out": {"left": "a"}, "answers": listed},
        {"out": {"left": " "}, "answers": listed},
        {"out": {"left": []}, "answers": listed},
        {"out": {"left": "a"}, "answers": listed[:1]},
        {"out": {"left": 0}, "answers": listed},
        {"out": {"left": "[]x"}, "answers": listed},
    ]
    ids = studio.add_tasks(project.id, *datas)

    (page, num_more), *others = project.unanswered_tasks(LabelingLayout.from_label_config(config))

    assert ([task["id"] for task in page], num_more, others) == (ids[1:4], 0, [])


def test_a_project_without_tasks_has_none_unanswered(project: LabelStudioProject) -> None:
    assert list(project.unanswered_tasks(LAYOUT)) == []
    assert project.num_unanswered(LAYOUT) == 0
    assert list(project.all_tasks()) == []


def test_the_unanswered_tasks_of_a_large_project_are_counted_without_reading_them(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    studio.add_tasks(project.id, *({"prompt": str(n), "answer1": "", "answer2": ""} for n in range(250)))

    assert project.num_unanswered(LAYOUT) == 250
    assert studio.requests == ["GET /api/tasks/"]


def test_all_tasks_are_listed_by_id_with_their_data_alone(studio: StudioDouble, project: LabelStudioProject) -> None:
    ids = studio.add_tasks(project.id, *({"prompt": str(n), "answer1": "a"} for n in range(5)))
    studio.add_tasks(studio.add_project(), {"prompt": "of another project"})
    studio.annotate(ids[0], CHOICE)

    every = list(project.all_tasks(page_size=2))

    assert [task["id"] for task in every] == ids
    assert [task["data"]["prompt"] for task in every] == ["0", "1", "2", "3", "4"]
    assert [task["id"] for task in project.all_tasks(above=ids[2], page_size=2)] == ids[3:]
    assert list(project.all_tasks(above=ids[4])) == []


def test_paging_loses_nothing_when_tasks_leave_the_filter_between_pages(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    ids = studio.add_tasks(project.id, *({"prompt": str(n), "answer1": "", "answer2": ""} for n in range(7)))
    listed = []

    for page, num_more in project.unanswered_tasks(LAYOUT, page_size=2):
        for task in page:
            listed.append(task["id"])
            project.store_answers(task["id"], data={**task["data"], "answer1": "a", "answer2": "b"}, meta={})
        assert num_more == 7 - len(listed)

    assert listed == ids
    assert studio.requests.count("GET /api/tasks/") == 4


def test_unscored_tasks_are_those_without_a_prediction_of_that_very_version(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    answered = {"prompt": "p", "answer1": "a", "answer2": "b"}
    scored, older, never = studio.add_tasks(project.id, answered, answered, answered)
    prediction = {"result": CHOICE, "score": 0.7}
    project.store_predictions([{"task": scored, **prediction, "model_version": "v12-20260101-000000"}])
    project.store_predictions([{"task": older, **prediction, "model_version": "v1-20260101-000000"}])

    pages = [[task["id"] for task in page] for page in project.unscored_tasks("v12-20260101-000000", page_size=1)]

    assert pages == [[older], [never]]


def test_unscored_tasks_are_asked_for_without_those_that_hold_no_answers(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    answered, half, empty = ({"prompt": "p", "answer1": a, "answer2": b} for a, b in (("a", "b"), ("a", " "), ("", "")))
    tasks = studio.add_tasks(project.id, empty, answered, half, {**answered, "answer1": 5}, {"prompt": "p"})

    listed = [task["id"] for page in project.unscored_tasks("v1-20260101-000000", layout=LAYOUT) for task in page]

    assert listed == [tasks[1], tasks[3]]


@pytest.mark.parametrize("num_tasks", [1000, 1003, 2001])
def test_unscored_tasks_are_listed_least_certain_first_by_the_version_that_is_shown(
    studio: StudioDouble, project: LabelStudioProject, num_tasks: int
) -> None:
    answered = {"prompt": "p", "answer1": "a", "answer2": "b"}
    tasks = studio.add_tasks(project.id, *[answered] * num_tasks)
    studio.projects[project.id]["model_version"] = "v1-20260101-000000"
    scores = {task: 0.5 + (task * 37 % 101) / 202 for task in tasks}
    prediction = {"result": CHOICE, "model_version": "v1-20260101-000000"}
    project.store_predictions([{"task": task, "score": score, **prediction} for task, score in scores.items()])
    studio.annotate(tasks[7], CHOICE)

    listed = [task["id"] for page in project.unscored_tasks("v2-20260101-000000", page_size=250) for task in page]

    assert sorted(listed) == [task for task in tasks if task != tasks[7]], "more than one of Label Studio's pages"
    assert [scores[task] for task in listed] == sorted(scores[task] for task in listed)


@pytest.mark.parametrize("num_judged", [1, 500])
def test_all_unscored_tasks_are_listed_although_some_are_judged_between_two_pages(
    studio: StudioDouble, project: LabelStudioProject, num_judged: int
) -> None:
    tasks = studio.add_tasks(project.id, *[{"prompt": "p", "answer1": "a", "answer2": "b"}] * 1500)
    judged = set(tasks[:num_judged])

    def judge(request: str) -> None:
        if studio.requests.count("GET /api/tasks/") == 2 and judged - {t for t in tasks if studio.tasks[t]["annotations"]}:
            for task in judged:
                studio.annotate(task, CHOICE)

    studio.on_request = judge
    listed = [task["id"] for page in project.unscored_tasks("v2-20260101-000000") for task in page]

    assert sorted(listed) == [task for task in tasks if task not in judged]


def test_a_prediction_is_removed_once_and_twice(studio: StudioDouble, project: LabelStudioProject) -> None:
    (task,) = studio.add_tasks(project.id, {"prompt": "p", "answer1": "a", "answer2": "b"})
    for version in ("one", "two"):
        project.store_predictions([{"task": task, "result": CHOICE, "score": 0.7, "model_version": version}])

    for _ in range(2):
        project.remove_prediction(studio.tasks[task]["predictions"][0]["id"] if studio.versions_of(task)[0] == "one" else 10**6)

    assert studio.versions_of(task) == ["two"]


def test_predictions_are_counted_as_label_studio_kept_them(studio: StudioDouble, project: LabelStudioProject) -> None:
    tasks = project.import_tasks([{"data": {"prompt": "p", "answer1": "a", "answer2": "b"}}] * 2)
    good = {"result": CHOICE, "score": 0.7, "model_version": "v"}
    bad = {**good, "result": [{**CHOICE[0], "to_name": "comparison"}]}

    assert project.store_predictions([{"task": tasks[0], **good}, {"task": tasks[1], **bad}]) == 1
    assert project.store_predictions([]) == 0
    assert [studio.versions_of(task) for task in tasks] == [["v"], []]


def test_tasks_are_read_as_they_are_now_and_the_missing_left_out(studio: StudioDouble, project: LabelStudioProject) -> None:
    first, second = studio.add_tasks(project.id, {"prompt": "one"}, {"prompt": "two"}, meta={"kept": 1})
    del studio.tasks[first]

    tasks = project.tasks([first, second])

    assert list(tasks) == [second]
    assert (tasks[second]["data"], tasks[second]["meta"]) == ({"prompt": "two"}, {"kept": 1})
    assert project.tasks([]) == {}


def test_many_tasks_are_asked_for_a_hundred_at_a_time(studio: StudioDouble, project: LabelStudioProject) -> None:
    """Their ids stand in the address, which servers cut."""
    ids = studio.add_tasks(project.id, *[{"prompt": "p"}] * 250)
    num_before = len(studio.requests)

    assert list(project.tasks(ids)) == ids
    assert len(studio.requests) - num_before == 3


def test_annotated_tasks_bring_their_annotations_skips_and_predictions(studio: StudioDouble, project: LabelStudioProject) -> None:
    judged, skipped, _open = studio.add_tasks(project.id, *[{"prompt": "p", "answer1": "a", "answer2": "b"}] * 3)
    project.store_predictions([{"task": judged, "result": CHOICE, "score": 0.7, "model_version": "v"}])
    project.annotate(judged, CHOICE)
    project.annotate(skipped, [], skip=True)

    tasks = list(project.annotated_tasks(page_size=1))

    assert [task["id"] for task in tasks] == [judged, skipped]
    assert tasks[0]["data"] == {"prompt": "p", "answer1": "a", "answer2": "b"}
    assert tasks[0]["annotations"][0]["result"] == CHOICE
    assert tasks[0]["predictions"][0]["model_version"] == "v"
    assert tasks[1]["annotations"][0]["was_cancelled"] is True
    assert set(tasks[0]["annotations"][0]) == {
        "id", "updated_at", "result", "was_cancelled", "ground_truth", "completed_by", "created_at", "lead_time", "parent_prediction"
    }  # fmt: skip


@pytest.mark.parametrize(
    "failures", [[0], [CUT], [CUT, 0, 500]], ids=["before it was taken", "after it was taken", "several times"]
)
def test_an_annotation_is_there_once_wherever_its_connection_broke(
    studio: StudioDouble, project: LabelStudioProject, failures: list[int]
) -> None:
    (task_id,) = studio.add_tasks(project.id, {"prompt": "p", "answer1": "a", "answer2": "b"})
    studio.failures = failures

    project.annotate(task_id, CHOICE)

    assert [made["result"] for made in studio.tasks[task_id]["annotations"]] == [CHOICE]
    assert studio.failures == []
    project.annotate(task_id, CHOICE)
    assert len(studio.tasks[task_id]["annotations"]) == 2, "another one, by the same hand"


def test_named_tasks_with_annotations_are_read_in_as_many_requests_as_the_address_allows(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    ids = studio.add_tasks(project.id, *({"prompt": str(n)} for n in range(250)))
    for task_id in ids[:230]:
        studio.annotate(task_id, CHOICE, is_skip=task_id % 2 == 0)
    del studio.tasks[ids[5]]

    tasks = list(project.annotated_among(ids[:240]))

    assert [task["id"] for task in tasks] == [*ids[:5], *ids[6:230]]
    assert tasks[0]["annotations"][0]["result"] == CHOICE
    assert studio.requests == ["GET /api/tasks/"] * 3
    assert list(project.annotated_among([])) == []


def test_the_states_of_annotated_tasks_are_their_counts_and_when_they_changed(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    studio.clock = lambda: 1_790_000_000
    judged, _open, skipped = studio.add_tasks(project.id, *[{"prompt": "p"}] * 3)
    studio.annotate(judged, CHOICE)
    studio.annotate(skipped, [], is_skip=True)

    states = list(project.task_states(page_size=1))

    assert [(state["id"], state["total_annotations"], state["cancelled_annotations"]) for state in states] == [
        (judged, 1, 0),
        (skipped, 0, 1),
    ]
    assert {state["updated_at"] for state in states} == {datetime.fromtimestamp(1_790_000_000, UTC)}
    assert states[0].keys() == {"id", "updated_at", "total_annotations", "cancelled_annotations"}, "no more is sent"


def test_the_states_that_changed_are_those_of_every_task_annotated_or_not(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    moments = iter(range(1_790_000_000, 1_790_001_000))
    studio.clock = lambda: next(moments)
    ids = studio.add_tasks(project.id, *[{"prompt": "p"}] * 5)
    made = studio.annotate(ids[3], CHOICE)
    since = studio.tasks[ids[3]]["updated_at"]
    project.store_predictions([{"task": ids[2], "result": CHOICE, "score": 0.7, "model_version": "v"}])
    assert list(project.task_states(changed_since=since)) == [], "a prediction does not move it, nor does that very moment"

    project.store_meta(ids[1], {"m": 1})
    studio.delete_annotation(made["id"])
    states = list(project.task_states(changed_since=since, page_size=1))

    assert [(state["id"], state["total_annotations"]) for state in states] == [(ids[1], 0), (ids[3], 0)]


def test_a_project_is_created_with_its_label_config(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)

    created = Account(settings.studio).create_project(title="Haiku", label_config=LABEL_CONFIG)

    assert studio.projects[created.id]["title"] == "Haiku"
    assert created.read()["label_config"] == LABEL_CONFIG


@pytest.mark.parametrize("line", ['<?xml version="1.0" encoding="UTF-8"?>\n', "\n<?xml version='1.0'?>"])
def test_a_label_config_is_sent_without_its_xml_declaration(
    studio: StudioDouble, settings_for: SettingsFactory, project: LabelStudioProject, line: str
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)

    created = Account(settings.studio).create_project(title="Haiku", label_config=line + LABEL_CONFIG)
    project.update(label_config=line + LABEL_CONFIG)

    assert studio.projects[created.id]["label_config"] == studio.projects[project.id]["label_config"] == LABEL_CONFIG


def test_open_tasks_are_those_that_nobody_judged_above_an_id(studio: StudioDouble, project: LabelStudioProject) -> None:
    first, judged, skipped, *others = studio.add_tasks(project.id, *({"prompt": f"p{n}"} for n in range(6)), meta={"m": 1})
    studio.annotate(judged, CHOICE)
    studio.annotate(skipped, [], is_skip=True)

    tasks = list(project.open_tasks(above=first, most=2))

    assert tasks == [{"id": task_id, "data": studio.tasks[task_id]["data"], "meta": {"m": 1}} for task_id in others[:2]]
    assert [task["id"] for task in project.open_tasks(above=0, most=100)] == [first, *others]
