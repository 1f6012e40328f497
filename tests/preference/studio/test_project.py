import itertools
import threading
import time
from datetime import UTC, datetime

import pytest

from preference.errors import StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject, is_annotated
from tests.conftest import SettingsFactory
from tests.support.studio_double import EXCHANGES_A_TOKEN, KEY, LABEL_CONFIG, StudioDouble, wait_until

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
CHOICE = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
KEY_ADVICE = (
    "make a personal access token (Account & Settings > Personal Access Token), or a legacy token where the organization "
    "allows those, and set LABEL_STUDIO_API_KEY to it."
)


@pytest.mark.parametrize("failure", [503, 500, 429, 0], ids=["unavailable", "locked database", "too many requests", "hangs up"])
def test_a_call_that_label_studio_fails_is_repeated_until_it_works(
    studio: StudioDouble, project: LabelStudioProject, failure: int
) -> None:
    studio.failures = [failure]

    assert project.read()["label_config"] == LABEL_CONFIG
    assert len(studio.requests) == 2


def test_the_waits_between_calls_grow(
    studio: StudioDouble, project: LabelStudioProject, caplog: pytest.LogCaptureFixture
) -> None:
    times: list[float] = []
    studio.on_request = lambda request: times.append(time.monotonic())
    studio.failures = [503, 503, 503]

    project.read()

    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 3
    assert waits[2] > 1.5 * waits[0]
    assert [record.message for record in caplog.records if record.name == "pairloop.studio"] == [
        f"Label Studio at {studio.url} does not answer; trying again with growing waits"
    ]


def test_patience_ends_and_says_what_to_do(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    impatient = LabelStudioProject(settings, studio.add_project(), patience_seconds=0)
    studio.failures = [503, 0]

    with pytest.raises(StudioUnreachable) as failing:
        impatient.read()
    with pytest.raises(StudioUnreachable) as silent:
        impatient.read()

    assert str(failing.value) == f"Label Studio at {studio.url} keeps failing with 503: Service unavailable"
    assert str(silent.value) == (
        f"Label Studio at {studio.url} does not answer (RemoteProtocolError); start it, or correct LABEL_STUDIO_URL."
    )
    assert len(studio.requests) == 2


def test_a_stop_ends_the_repeating_at_once(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings, stop = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), threading.Event()
    project = LabelStudioProject(settings, studio.add_project(), patience_seconds=3600, stop=stop)
    studio.failures = [503] * 100
    errors: list[Exception] = []

    def read() -> None:
        try:
            project.read()
        except StudioUnreachable as error:
            errors.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    wait_until(lambda: len(studio.requests) == 2)
    stop.set()  # in the middle of a wait
    reading.join(10)

    assert not reading.is_alive()
    assert str(errors[0]) == f"Label Studio at {studio.url} keeps failing with 503: Service unavailable"


def test_after_a_stop_a_call_is_still_sent_once(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings, stop = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), threading.Event()
    project = LabelStudioProject(settings, studio.add_project(), stop=stop)
    (task,) = studio.add_tasks(project.id, {"prompt": "p"})
    stop.set()

    project.store_answers(task, data={"prompt": "p", "answer1": "a"}, meta={})  # what was written is stored
    studio.failures = [503, 503]
    with pytest.raises(StudioUnreachable):
        project.store_answers(task, data={"prompt": "p", "answer1": "b"}, meta={})

    assert studio.tasks[task]["data"]["answer1"] == "a"
    assert len(studio.requests) == 2


def test_a_label_studio_that_hangs_is_not_waited_for_longer_than_the_timeout(
    studio: StudioDouble, settings_for: SettingsFactory
) -> None:
    settings, gate = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), threading.Event()
    project = LabelStudioProject(settings, studio.add_project(), patience_seconds=0, timeout_seconds=0.1)

    def hang(request: str) -> None:
        gate.wait(60)

    studio.on_request = hang
    with pytest.raises(StudioUnreachable, match=r"does not answer \(ReadTimeout\)"):
        project.read()

    gate.set()
    assert studio.requests == [f"GET /api/projects/{project.id}/"]


def test_nothing_listening_is_unreachable_at_once_when_there_is_no_patience(settings_for: SettingsFactory) -> None:
    with StudioDouble() as gone:
        address = gone.url
    settings = settings_for(label_studio_url=address, label_studio_api_key=KEY)
    started = time.monotonic()

    with pytest.raises(StudioUnreachable, match=r"does not answer \(ConnectError\); start it, or correct LABEL_STUDIO_URL"):
        LabelStudioProject(settings, 1, patience_seconds=0).read()

    assert time.monotonic() - started < 2  # the SDK's own two retries would take three seconds


def test_a_page_instead_of_json_is_told_in_one_short_line(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    project_id = studio.add_project()
    studio.page = "\n\n<!doctype html>\n<html>\n<head>" + "x" * 1000
    studio.failures = [500]

    with pytest.raises(StudioUnreachable) as refused:
        LabelStudioProject(settings, project_id, patience_seconds=0).read()

    assert str(refused.value) == f"Label Studio at {studio.url} keeps failing with 500: it sent a page instead of JSON"


def test_a_wrong_key_is_refused_with_both_kinds_of_token_named(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key="f" * 40)

    with pytest.raises(StudioKeyError) as refused:
        LabelStudioProject(settings, studio.add_project()).read()

    assert str(refused.value) == f"Label Studio at {studio.url} refuses LABEL_STUDIO_API_KEY; {KEY_ADVICE}"
    assert len(studio.requests) == 1  # a wrong key does not become right by asking again


def test_a_missing_key_is_told_before_any_call(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    with pytest.raises(StudioKeyError) as refused:
        LabelStudioProject(settings_for(label_studio_url=studio.url), 1).read()

    assert str(refused.value) == f"LABEL_STUDIO_API_KEY is not set; {KEY_ADVICE}"
    assert studio.requests == []


@EXCHANGES_A_TOKEN
def test_a_personal_access_token_is_exchanged_once_and_used(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=studio.personal_access_token())
    project = LabelStudioProject(settings, studio.add_project())

    project.read()
    project.read()

    assert studio.requests.count("POST /api/token/refresh/") == 1


@pytest.mark.parametrize("is_expired", [True, False], ids=["expired", "of another installation"])
def test_a_personal_access_token_that_is_not_accepted_is_a_key_error(
    studio: StudioDouble, settings_for: SettingsFactory, is_expired: bool
) -> None:
    token = studio.personal_access_token(seconds=-60 if is_expired else 3600)
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=token if is_expired else token[:-4] + "AAAA")

    with pytest.raises(StudioKeyError) as refused:
        LabelStudioProject(settings, studio.add_project()).read()

    assert str(refused.value) == f"Label Studio at {studio.url} refuses LABEL_STUDIO_API_KEY; {KEY_ADVICE}"


@EXCHANGES_A_TOKEN
def test_a_token_exchange_behind_a_failing_proxy_is_unreachable(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=studio.personal_access_token())
    project = LabelStudioProject(settings, studio.add_project(), patience_seconds=0)
    studio.page = "<html>502 Bad Gateway</html>"
    studio.failures = [502]

    with pytest.raises(StudioUnreachable, match=f"Label Studio at {studio.url} does not answer"):
        project.read()

    assert project.read()["id"] == project.id


def test_what_is_gone_is_not_found(studio: StudioDouble, settings_for: SettingsFactory, project: LabelStudioProject) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)

    with pytest.raises(StudioNotFound) as no_project:
        LabelStudioProject(settings, 999).read()
    with pytest.raises(StudioNotFound) as no_task:
        project.store_answers(998, data={}, meta={})

    assert str(no_project.value) == "Label Studio has no such thing in project 999: No Project matches the given query."
    assert str(no_task.value) == f"Label Studio has no such thing in project {project.id}: No Task matches the given query."


def test_a_refusal_tells_what_label_studio_found_wrong(studio: StudioDouble, project: LabelStudioProject) -> None:
    with pytest.raises(StudioError, match=r"refused a request for project \d+ \(400\): .*\"answer1\" key is expected"):
        project.import_tasks([{"data": {"prompt": "p"}}])


def test_unanswered_tasks_come_in_pages_by_id_judged_or_not(studio: StudioDouble, project: LabelStudioProject) -> None:
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


def test_all_tasks_come_by_id_with_their_data_alone(studio: StudioDouble, project: LabelStudioProject) -> None:
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
    seen = []

    for page, num_more in project.unanswered_tasks(LAYOUT, page_size=2):
        for task in page:
            seen.append(task["id"])
            project.store_answers(task["id"], data={**task["data"], "answer1": "a", "answer2": "b"}, meta={})
        assert num_more == 7 - len(seen)

    assert seen == ids
    assert studio.requests.count("GET /api/tasks/") == 4


def test_unscored_tasks_are_those_without_a_prediction_of_that_very_version(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    answered = {"prompt": "p", "answer1": "a", "answer2": "b"}
    scored, older, never = studio.add_tasks(project.id, answered, answered, answered)
    prediction = {"result": CHOICE, "score": 0.7}
    project.store_predictions([{"task": scored, **prediction, "model_version": "v12-20260101-000000"}])
    project.store_predictions([{"task": older, **prediction, "model_version": "v1-20260101-000000"}])

    found = [[task["id"] for task in page] for page in project.unscored_tasks("v12-20260101-000000", page_size=1)]

    assert found == [[older], [never]]


@pytest.mark.parametrize("num_tasks", [1000, 1003, 2001])
def test_unscored_tasks_come_least_certain_first_by_the_version_that_is_shown(
    studio: StudioDouble, project: LabelStudioProject, num_tasks: int
) -> None:
    answered = {"prompt": "p", "answer1": "a", "answer2": "b"}
    tasks = studio.add_tasks(project.id, *[answered] * num_tasks)
    studio.projects[project.id]["model_version"] = "v1-20260101-000000"
    scores = {task: 0.5 + (task * 37 % 101) / 202 for task in tasks}
    prediction = {"result": CHOICE, "model_version": "v1-20260101-000000"}
    project.store_predictions([{"task": task, "score": score, **prediction} for task, score in scores.items()])
    studio.annotate(tasks[7], CHOICE)

    found = [task["id"] for page in project.unscored_tasks("v2-20260101-000000", page_size=250) for task in page]

    assert sorted(found) == [task for task in tasks if task != tasks[7]], "more than one of Label Studio's pages"
    assert [scores[task] for task in found] == sorted(scores[task] for task in found)


@pytest.mark.parametrize("num_judged", [1, 500])
def test_unscored_tasks_are_all_found_although_some_are_judged_between_two_pages(
    studio: StudioDouble, project: LabelStudioProject, num_judged: int
) -> None:
    tasks = studio.add_tasks(project.id, *[{"prompt": "p", "answer1": "a", "answer2": "b"}] * 1500)
    judged = set(tasks[:num_judged])

    def judge(request: str) -> None:
        if studio.requests.count("GET /api/tasks/") == 2 and judged - {t for t in tasks if studio.tasks[t]["annotations"]}:
            for task in judged:
                studio.annotate(task, CHOICE)

    studio.on_request = judge
    found = [task["id"] for page in project.unscored_tasks("v2-20260101-000000") for task in page]

    assert sorted(found) == [task for task in tasks if task not in judged]


def test_a_call_does_not_wait_past_its_patience_because_label_studio_asks_for_it(
    studio: StudioDouble, settings_for: SettingsFactory
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    hurried = LabelStudioProject(settings, studio.add_project(), patience_seconds=1.5)
    studio.failures, studio.retry_after = [429] * 5, "2"
    started = time.monotonic()

    with pytest.raises(StudioUnreachable, match="429"):
        hurried.read()

    assert len(studio.requests) == 1 and time.monotonic() - started < 2


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

    found = project.tasks([first, second])

    assert list(found) == [second]
    assert (found[second]["data"], found[second]["meta"]) == ({"prompt": "two"}, {"kept": 1})
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


def test_the_named_tasks_with_annotations_come_in_as_many_requests_as_their_address_allows(
    studio: StudioDouble, project: LabelStudioProject
) -> None:
    ids = studio.add_tasks(project.id, *({"prompt": str(n)} for n in range(250)))
    for task_id in ids[:230]:
        studio.annotate(task_id, CHOICE, is_skip=task_id % 2 == 0)
    del studio.tasks[ids[5]]

    found = list(project.annotated_among(ids[:240]))

    assert [task["id"] for task in found] == [*ids[:5], *ids[6:230]]
    assert found[0]["annotations"][0]["result"] == CHOICE
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
    assert states[0]["data"] is states[0]["annotations"] is None, "they are not sent"


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
    found = list(project.task_states(changed_since=since, page_size=1))

    assert [(state["id"], state["total_annotations"]) for state in found] == [(ids[1], 0), (ids[3], 0)]


def test_a_project_is_created_with_its_label_config(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)

    created = LabelStudioProject.create(settings, title="Haiku", label_config=LABEL_CONFIG)

    assert studio.projects[created.id]["title"] == "Haiku"
    assert created.read()["label_config"] == LABEL_CONFIG
