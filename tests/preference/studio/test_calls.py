import itertools
import threading
import time

import pytest

from preference.errors import StudioError, StudioFailing, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.studio_double import EXCHANGES_A_TOKEN, KEY, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG

KEY_ADVICE = (
    "make a personal access token (Account & Settings > Personal Access Token), or a legacy token if the organization "
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
    impatient = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=0)
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
    project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=3600, stop=stop)
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
    project = LabelStudioProject(settings.studio, studio.add_project(), stop=stop)
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
    project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=0, timeout_seconds=0.1)

    def hang(request: str) -> None:
        gate.wait(60)

    studio.on_request = hang
    with pytest.raises(StudioUnreachable, match=r"does not answer \(ReadTimeout\)"):
        project.read()

    gate.set()
    assert studio.requests == [f"GET /api/projects/{project.id}/"]


def test_nothing_listening_is_unreachable_at_once_when_there_is_no_patience(settings_for: SettingsFactory) -> None:
    with StudioDouble() as stopped:
        address = stopped.url
    settings = settings_for(label_studio_url=address, label_studio_api_key=KEY)
    started = time.monotonic()

    with pytest.raises(StudioUnreachable, match=r"does not answer \(ConnectError\); start it, or correct LABEL_STUDIO_URL"):
        LabelStudioProject(settings.studio, 1, patience_seconds=0).read()

    assert time.monotonic() - started < 2  # the SDK's own two retries would take three seconds


def test_a_page_instead_of_json_is_one_short_line(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    project_id = studio.add_project()
    studio.page = "\n\n<!doctype html>\n<html>\n<head>" + "x" * 1000
    studio.failures = [500]

    with pytest.raises(StudioFailing) as refused:
        LabelStudioProject(settings.studio, project_id, patience_seconds=0).read()

    assert str(refused.value) == f"Label Studio at {studio.url} keeps failing with 500: it sent a page instead of JSON"


def test_a_500_may_be_about_its_call_alone_and_quotes_no_text(
    studio: StudioDouble, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=2)
    (task,) = studio.add_tasks(project.id, {"prompt": "p"})
    studio.is_on_postgresql = True

    with pytest.raises(StudioFailing) as failing:
        project.update(title="nul: \0")

    assert failing.value.is_of_one_call and project.read()["id"] == project.id
    assert "u0000 cannot be converted to text" in str(failing.value)
    assert "the middle of an answer" not in str(failing.value)
    assert len(studio.requests) > 3 and caplog.messages == [], "nothing is away"
    project.store_answers(task, data={"prompt": "p"}, meta={})


@pytest.mark.parametrize("text", ["half an emoji: \ud83d", "😀", "nul: \0", 'quoted "\\ud83d" \u2028'])
def test_a_text_goes_back_as_it_came(studio: StudioDouble, project: LabelStudioProject, text: str) -> None:
    (task,) = studio.add_tasks(project.id, {"prompt": text})

    project.store_answers(task, data=project.tasks([task])[task]["data"], meta={text: [text]})

    assert (studio.tasks[task]["data"], studio.tasks[task]["meta"]) == ({"prompt": text}, {text: [text]})


def test_a_wrong_key_is_refused_with_both_kinds_of_token_named(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key="f" * 40)

    with pytest.raises(StudioKeyError) as refused:
        LabelStudioProject(settings.studio, studio.add_project()).read()

    assert str(refused.value) == f"Label Studio at {studio.url} refuses LABEL_STUDIO_API_KEY; {KEY_ADVICE}"
    assert len(studio.requests) == 1  # a wrong key does not become right by asking again


def test_a_missing_key_is_reported_before_any_call(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    with pytest.raises(StudioKeyError) as refused:
        LabelStudioProject(settings_for(label_studio_url=studio.url).studio, 1).read()

    assert str(refused.value) == f"LABEL_STUDIO_API_KEY is not set; {KEY_ADVICE}"
    assert studio.requests == []


@EXCHANGES_A_TOKEN
def test_a_personal_access_token_is_exchanged_once_and_used(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=studio.personal_access_token())
    project = LabelStudioProject(settings.studio, studio.add_project())

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
        LabelStudioProject(settings.studio, studio.add_project()).read()

    assert str(refused.value) == f"Label Studio at {studio.url} refuses LABEL_STUDIO_API_KEY; {KEY_ADVICE}"


@EXCHANGES_A_TOKEN
def test_a_token_exchange_behind_a_failing_proxy_is_unreachable(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=studio.personal_access_token())
    project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=0)
    studio.page = "<html>502 Bad Gateway</html>"
    studio.failures = [502]

    with pytest.raises(StudioUnreachable, match=f"Label Studio at {studio.url} does not answer"):
        project.read()

    assert project.read()["id"] == project.id


def test_a_missing_project_or_task_raises_studio_not_found(
    studio: StudioDouble, settings_for: SettingsFactory, project: LabelStudioProject
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)

    with pytest.raises(StudioNotFound) as no_project:
        LabelStudioProject(settings.studio, 999).read()
    with pytest.raises(StudioNotFound) as no_task:
        project.store_answers(998, data={}, meta={})

    assert str(no_project.value) == "Label Studio has no such thing in project 999: No Project matches the given query."
    assert str(no_task.value) == f"Label Studio has no such thing in project {project.id}: No Task matches the given query."


def test_a_refusal_names_what_label_studio_objects_to(studio: StudioDouble, project: LabelStudioProject) -> None:
    with pytest.raises(StudioError, match=r"refused a request for project \d+ \(400\): .*\"answer1\" key is expected"):
        project.import_tasks([{"data": {"prompt": "p"}}])


def test_a_call_does_not_wait_past_its_patience_because_label_studio_asks_for_it(
    studio: StudioDouble, settings_for: SettingsFactory
) -> None:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    hurried = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=1.5)
    studio.failures, studio.retry_after = [429] * 5, "2"
    started = time.monotonic()

    with pytest.raises(StudioUnreachable, match="429"):
        hurried.read()

    assert len(studio.requests) == 1 and time.monotonic() - started < 2
