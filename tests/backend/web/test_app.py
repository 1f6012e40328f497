"""Each route, as Label Studio calls it."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.versions import UNTRAINED, Versions
from tests.conftest import SettingsFactory
from tests.support.app_house import ANSWERED, PROJECT, folder_of, predict, promote
from tests.support.statuses import keep_filling
from tests.support.studio_double import CALLS
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))  # never started: its threads have tests of their own


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


def test_setup_names_the_version_and_remembers_project_and_host(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    first = client.post("/setup", json=CALLS["setup"], base_url="http://backend:9090")
    version = promote(backend, tiny_base)
    second = client.post("/setup", json=CALLS["setup"], base_url="http://backend:9090")

    assert (first.status_code, first.get_json()) == (200, {"model_version": UNTRAINED})
    assert second.get_json() == {"model_version": version}
    assert folder_of(backend).read_host() == "backend:9090"
    assert folder_of(backend).take_request("look") is True


def test_setup_follows_a_backend_that_moved(client: FlaskClient, backend: Backend) -> None:
    for host in ("old:9090", "new:9090"):
        client.post("/setup", json=CALLS["setup"], base_url=f"http://{host}")

    assert folder_of(backend).read_host() == "new:9090"


def test_predict_answers_nothing_before_the_first_version(client: FlaskClient) -> None:
    answer = client.post("/predict", json=CALLS["predict"])

    assert (answer.status_code, answer.get_json()) == (200, {"results": [[]]})


def test_predict_gives_one_entry_a_task_in_order_and_an_empty_list_if_there_is_nothing(
    client: FlaskClient, backend: Backend, tiny_base: Path
) -> None:
    version = promote(backend, tiny_base)
    flipped = {**ANSWERED, "answer1": ANSWERED["answer2"], "answer2": ANSWERED["answer1"]}
    nothing: list[dict[str, Any]] = [
        {}, {"prompt": "Why?"}, {**ANSWERED, "answer1": ""}, {**ANSWERED, "answer2": None}, {**ANSWERED, "prompt": " "},
        {**ANSWERED, "prompt": {}}, {**ANSWERED, "answer1": [{"text": "a"}]},
    ]  # fmt: skip

    results = predict(client, [nothing[0], ANSWERED, *nothing[1:4], flipped, *nothing[4:], ANSWERED])

    assert [bool(entry) for entry in results] == [False, True, False, False, False, True, False, False, False, True]
    assert all(entry == [] for entry in results if not entry)  # `null` is an error 500 to the annotator
    assert results[1] == results[9] == {
        "result": [
            {"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "right"}},
            {"from_name": "reward1", "to_name": "answer1", "type": "number", "value": {"number": results[1]["result"][1]["value"]["number"]}, "readonly": True},
            {"from_name": "reward2", "to_name": "answer2", "type": "number", "value": {"number": results[1]["result"][2]["value"]["number"]}, "readonly": True},
        ],
        "score": results[1]["score"],
        "model_version": version,
    }  # fmt: skip
    assert results[1]["result"][1]["value"]["number"] < results[1]["result"][2]["value"]["number"]
    assert 0.5 < results[1]["score"] <= 1
    assert results[5]["result"][0]["value"] == {"selected": "left"}
    assert results[5]["score"] == pytest.approx(results[1]["score"])


def test_predict_without_tasks_gives_no_entries(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    promote(backend, tiny_base)

    assert predict(client, []) == []


def test_predict_leaves_unanswered_tasks_to_the_filler(client: FlaskClient, backend: Backend) -> None:
    predict(client, [ANSWERED])
    assert folder_of(backend).take_request("fill") is False

    predict(client, [ANSWERED, {"prompt": "Why?", "answer1": "", "answer2": ""}])
    assert folder_of(backend).take_request("fill") is True


@pytest.mark.parametrize(
    ("action", "kind"), [("START_TRAINING", "train"), ("TASKS_CREATED", "fill"), ("PROJECT_UPDATED", "fill")]
)
def test_a_webhook_becomes_a_request(client: FlaskClient, backend: Backend, action: str, kind: str) -> None:
    answer = client.post("/webhook", json=CALLS[action])

    assert (answer.status_code, answer.get_json()) == (201, {"status": "queued"})
    assert [path.name for path in (folder_of(backend).path / "requests").iterdir()] == [kind]


@pytest.mark.parametrize("body", [CALLS["ANNOTATION_CREATED"], {"action": "SOMETHING_NEW"}], ids=["annotation", "unknown"])
def test_other_webhooks_are_ignored(client: FlaskClient, backend: Backend, body: dict[str, Any]) -> None:
    answer = client.post("/webhook", json=body)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "ignored"})
    assert not folder_of(backend).path.exists()


def test_a_webhook_without_a_project_says_so(client: FlaskClient) -> None:
    answer = client.post("/webhook", json={"action": "START_TRAINING"})

    assert (answer.status_code, answer.get_json()) == (400, {"error": "START_TRAINING names no project."})


def test_health_has_versions_and_problems(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    version = promote(backend, tiny_base)
    folder = folder_of(backend, 11)
    refused = publish_version(folder, tiny_base, weight=1, probe={"reward": 9.0})
    Versions(folder).promote(refused)
    backend.champions.of(11).refresh()

    health = client.get("/health").get_json()

    assert (health["status"], health["model_class"]) == ("UP", "PreferenceModel")
    assert health["versions"] == {"10": version, "11": UNTRAINED}
    assert len(health["problems"]) == 1 and health["problems"][0].startswith(
        f"Project {folder.project_id}: {refused} is not served: its probe scores "
    )


def test_health_has_the_progress_of_each_project(client: FlaskClient, backend: Backend) -> None:
    progress = {"tasks_left": 3, "tasks_answered": 40, "tasks_failed": {"the model wrote nothing": 1}, "is_filling": True}
    for project in (PROJECT, 11, 12):
        folder_of(backend, project).create()
    keep_filling(folder_of(backend), progress)
    keep_filling(folder_of(backend, 11), {**progress, "tasks_left": 0})
    (folder_of(backend, 12).path / "filling.json").write_text("{half", encoding="utf-8")

    filling = client.get("/health").get_json()["filling"]

    assert filling == {"10": progress, "11": {**progress, "tasks_left": 0}}


def test_versions_of_all_projects_or_of_one(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    first, second = promote(backend, tiny_base), promote(backend, tiny_base, weight=2)
    other = promote(backend, tiny_base, project=11)

    assert client.get("/versions").get_json() == {"versions": [first, second, other]}
    assert client.get("/versions?project=10.123").get_json() == {"versions": [first, second]}
    assert client.get("/versions?project=12").get_json() == {"versions": []}


def test_a_project_whose_versions_cannot_be_read_hides_no_others_and_is_logged_once(
    client: FlaskClient, backend: Backend, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = promote(backend, tiny_base, project=11)
    folder_of(backend).path.mkdir(parents=True)
    (folder_of(backend).path / "versions").touch()

    assert [client.get("/versions").get_json() for _ in range(2)] == [{"versions": [version]}] * 2
    assert client.get("/versions?project=10").status_code == 503
    warnings = [message for message in caplog.messages if "cannot be read" in message]
    assert len(warnings) == 1 and warnings[0].startswith("project 10: its versions cannot be read (")


def test_a_project_whose_pointer_cannot_be_read_is_set_up_and_answered_without_suggestions(
    client: FlaskClient, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    (folder_of(backend).path / "champion").mkdir(parents=True)

    assert client.post("/setup", json=CALLS["setup"]).get_json() == {"model_version": UNTRAINED}
    assert predict(client, [ANSWERED]) == [[]]
    assert caplog.messages == []


def test_metrics_count_requests_by_route_and_status(client: FlaskClient) -> None:
    client.get("/health")
    client.post("/predict", json=[])
    client.get("/nowhere/at/all")

    metrics = client.get("/metrics")

    assert metrics.mimetype == "text/plain"
    for line in (
        'pairloop_requests_total{route="/health",status="200"} 1.0',
        'pairloop_requests_total{route="/predict",status="400"} 1.0',
        'pairloop_requests_total{route="other",status="404"} 1.0',
        'pairloop_request_seconds_count{route="/health"} 1.0',
    ):
        assert line in metrics.text.splitlines()


def test_two_projects_have_layouts_and_versions_of_their_own(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    longer, shorter = promote(backend, tiny_base, project=1), promote(backend, tiny_base, project=2, weight=-1)
    renamed = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")
    renamed = renamed.replace('name="comparison"', 'name="choice"')
    theirs = {"question": "Why?", "left": ANSWERED["answer1"], "right": ANSWERED["answer2"]}

    ours_results = predict(client, [ANSWERED, theirs], project=1)
    their_results = predict(client, [ANSWERED, theirs], project=2, label_config=renamed)

    assert ours_results[1] == [] and their_results[0] == []
    assert (ours_results[0]["model_version"], their_results[1]["model_version"]) == (longer, shorter)
    regions = [ours_results[0]["result"][0], their_results[1]["result"][0]]
    assert [(region["from_name"], region["value"]["selected"]) for region in regions] == [
        ("comparison", "right"),
        ("choice", "left"),
    ]
    assert client.post("/setup", json={**CALLS["setup"], "project": "2.1"}).get_json() == {"model_version": shorter}
    assert json.loads(client.get("/health").text)["versions"] == {"1": longer, "2": shorter}
