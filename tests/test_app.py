import base64
import dataclasses
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.app import create_app
from backend.champion import Serving
from backend.wiring import Backend
from preference.errors import ModelError
from preference.registry import UNTRAINED, Registry
from preference.reward_model import RewardModel
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.filling_house import CHOICE, EMPTY, House
from tests.openai_double import OpenAIDouble
from tests.studio_double import CALLS, KEY, LABEL_CONFIG, StudioDouble, publish_version, wait_until

PROJECT = 10  # of the recorded calls
ANSWERED = {"prompt": "Why?", "answer1": "Because.", "answer2": "Because the moon looked at the cat."}


@pytest.fixture
def settings(settings_for: SettingsFactory) -> Settings:
    return settings_for(generator_engine="echo")


@pytest.fixture
def backend(settings: Settings) -> Backend:
    return Backend(settings)  # never started: its threads have tests of their own


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


@pytest.fixture
def locked(settings_for: SettingsFactory) -> FlaskClient:
    settings = settings_for(basic_auth_user="ls", basic_auth_pass="pässword", webhook_secret="s3cret")
    return create_app(Backend(settings)).test_client()


def promote(backend: Backend, base: Path, *, project: int = PROJECT, weight: float = 1) -> str:
    registry = Registry(backend.settings.model_dir, project)
    version = publish_version(registry, base, weight=weight)
    registry.promote(version)
    backend.champions.of(project).refresh()
    return version


def predict(
    client: FlaskClient, datas: Sequence[dict[str, Any]], *, project: int = PROJECT, label_config: str = LABEL_CONFIG
) -> Any:
    tasks = [{"id": number, "data": data} for number, data in enumerate(datas)]
    answer = client.post("/predict", json={"tasks": tasks, "project": f"{project}.123", "label_config": label_config})
    assert answer.status_code == 200, answer.text
    return answer.get_json()["results"]


def registry_of(backend: Backend, project: int = PROJECT) -> Registry:
    return Registry(backend.settings.model_dir, project)


def assert_refused(answer: TestResponse, status: int) -> str:
    """The refusal's one line, which its JSON and its reason phrase share."""
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    body = answer.get_json()
    assert list(body) == ["error"]
    line = str(body["error"])
    assert line and "\n" not in line and "Traceback" not in answer.text
    assert answer.status == f"{status} {line[:300]}"
    return line


# Each route, as Label Studio calls it


def test_setup_names_the_version_and_remembers_project_and_host(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    first = client.post("/setup", json=CALLS["setup"], base_url="http://backend:9090")
    version = promote(backend, tiny_base)
    second = client.post("/setup", json=CALLS["setup"], base_url="http://backend:9090")

    assert (first.status_code, first.get_json()) == (200, {"model_version": UNTRAINED})
    assert second.get_json() == {"model_version": version}
    assert registry_of(backend).read_host() == "backend:9090"
    assert registry_of(backend).take_request("look") is True


def test_setup_follows_a_backend_that_moved(client: FlaskClient, backend: Backend) -> None:
    for host in ("old:9090", "new:9090"):
        client.post("/setup", json=CALLS["setup"], base_url=f"http://{host}")

    assert registry_of(backend).read_host() == "new:9090"


def test_predict_answers_nothing_before_the_first_version(client: FlaskClient) -> None:
    answer = client.post("/predict", json=CALLS["predict"])

    assert (answer.status_code, answer.get_json()) == (200, {"results": [[]]})


def test_predict_gives_one_entry_a_task_in_order_and_an_empty_list_where_there_is_nothing(
    client: FlaskClient, backend: Backend, tiny_base: Path
) -> None:
    version = promote(backend, tiny_base)
    flipped = {**ANSWERED, "answer1": ANSWERED["answer2"], "answer2": ANSWERED["answer1"]}
    nothing: list[dict[str, Any]] = [
        {}, {"prompt": "Why?"}, {**ANSWERED, "answer1": ""}, {**ANSWERED, "answer2": None}, {**ANSWERED, "prompt": " "},
        {**ANSWERED, "prompt": 5}, {**ANSWERED, "answer1": ["a"]},
    ]  # fmt: skip

    results = predict(client, [nothing[0], ANSWERED, *nothing[1:4], flipped, *nothing[4:], ANSWERED])

    assert [bool(entry) for entry in results] == [False, True, False, False, False, True, False, False, False, True]
    assert all(entry == [] for entry in results if not entry)  # `null` is an error 500 to the annotator
    assert results[1] == results[9] == {
        "result": [
            {"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "right"}},
            {"from_name": "reward1", "to_name": "answer1", "type": "number", "value": {"number": results[1]["result"][1]["value"]["number"]}},
            {"from_name": "reward2", "to_name": "answer2", "type": "number", "value": {"number": results[1]["result"][2]["value"]["number"]}},
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
    assert registry_of(backend).take_request("fill") is False

    predict(client, [ANSWERED, {"prompt": "Why?", "answer1": "", "answer2": ""}])
    assert registry_of(backend).take_request("fill") is True


@pytest.mark.parametrize(
    ("action", "kind"), [("START_TRAINING", "train"), ("TASKS_CREATED", "fill"), ("PROJECT_UPDATED", "fill")]
)
def test_a_webhook_becomes_a_request(client: FlaskClient, backend: Backend, action: str, kind: str) -> None:
    answer = client.post("/webhook", json=CALLS[action])

    assert (answer.status_code, answer.get_json()) == (201, {"status": "queued"})
    assert [path.name for path in (registry_of(backend).folder / "requests").iterdir()] == [kind]


@pytest.mark.parametrize("body", [CALLS["ANNOTATION_CREATED"], {"action": "SOMETHING_NEW"}], ids=["annotation", "unknown"])
def test_other_webhooks_are_ignored(client: FlaskClient, backend: Backend, body: dict[str, Any]) -> None:
    answer = client.post("/webhook", json=body)

    assert (answer.status_code, answer.get_json()) == (200, {"status": "ignored"})
    assert not registry_of(backend).folder.exists()


def test_a_webhook_without_a_project_says_so(client: FlaskClient) -> None:
    answer = client.post("/webhook", json={"action": "START_TRAINING"})

    assert (answer.status_code, answer.get_json()) == (400, {"error": "START_TRAINING names no project."})


def test_health_tells_versions_and_problems(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    version = promote(backend, tiny_base)
    registry = registry_of(backend, 11)
    refused = publish_version(registry, tiny_base, weight=1, probe={"reward": 9.0})
    registry.promote(refused)
    backend.champions.of(11).refresh()

    health = client.get("/health").get_json()

    assert (health["status"], health["model_class"]) == ("UP", "PreferenceModel")
    assert health["versions"] == {"10": version, "11": UNTRAINED}
    assert len(health["problems"]) == 1 and health["problems"][0].startswith(f"{refused} is not served: its probe scores ")


def test_health_tells_how_far_the_filling_of_each_project_is(client: FlaskClient, backend: Backend) -> None:
    progress = {"tasks_left": 3, "tasks_answered": 40, "tasks_failed": {"the model wrote nothing": 1}, "is_filling": True}
    for project in (PROJECT, 11, 12):
        registry_of(backend, project).create()
    registry_of(backend).write_progress(progress)
    registry_of(backend, 11).write_progress({**progress, "tasks_left": 0})
    (registry_of(backend, 12).folder / "filling.json").write_text("{half", encoding="utf-8")

    filling = client.get("/health").get_json()["filling"]

    assert filling == {"10": progress, "11": {**progress, "tasks_left": 0}}


def test_versions_of_all_projects_or_of_one(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    first, second = promote(backend, tiny_base), promote(backend, tiny_base, weight=2)
    other = promote(backend, tiny_base, project=11)

    assert client.get("/versions").get_json() == {"versions": [first, second, other]}
    assert client.get("/versions?project=10.123").get_json() == {"versions": [first, second]}
    assert client.get("/versions?project=12").get_json() == {"versions": []}


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


# What is refused


@pytest.mark.parametrize("route", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize(
    "body", [b"{", b"", b"[1, 2", b"\xff\xfe", b"[]", b"null", b'"text"', b"5", b"{}", b'{"project": "1.2"}'], ids=repr
)
def test_a_body_of_another_shape_is_refused_in_one_line(client: FlaskClient, route: str, body: bytes) -> None:
    assert_refused(client.post(route, data=body, content_type="application/json"), 400)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("tasks", None, "tasks: "),
        ("tasks", {"id": 1}, "tasks: "),
        ("tasks", [None], "tasks.0: "),
        ("tasks", [{"id": 1}], "tasks.0.data: Field required"),
        ("tasks", [{"id": 1, "data": ANSWERED}, {"id": 1, "data": []}], "tasks.1.data: "),
        ("tasks", [{"id": "x", "data": {}}], "tasks.0.id: "),
        ("label_config", None, "label_config: "),
        ("label_config", ["<View/>"], "label_config: "),
    ],
)
def test_a_field_of_another_type_is_named(client: FlaskClient, field: str, value: object, place: str) -> None:
    answer = client.post("/predict", json={**CALLS["predict"], field: value})

    assert assert_refused(answer, 400).startswith(place)


@pytest.mark.parametrize(
    "project", ["../../x", "..", "/etc", "", "x", -1, "-1", 0, "0", 1.5, None, [1], {"id": 1}, 2**63, "9" * 30]
)
def test_a_project_that_is_no_id_is_refused_and_makes_no_folder(client: FlaskClient, backend: Backend, project: object) -> None:
    for route, body in (
        ("/setup", {**CALLS["setup"], "project": project}),
        ("/predict", {**CALLS["predict"], "project": project}),
        ("/webhook", {"action": "START_TRAINING", "project": {"id": project}}),
    ):
        assert assert_refused(client.post(route, json=body), 400).startswith("project")

    assert not backend.settings.model_dir.exists()


@pytest.mark.parametrize("project", ["../../x", "-1", "x", ""])
def test_versions_of_a_project_that_is_no_id_are_refused(client: FlaskClient, project: str) -> None:
    assert_refused(client.get("/versions", query_string={"project": project}), 400)


def test_a_project_is_known_by_the_number_before_the_point(client: FlaskClient, backend: Backend) -> None:
    client.post("/setup", json={**CALLS["setup"], "project": "1.123"})

    assert [path.name for path in (backend.settings.model_dir / "projects").iterdir()] == ["1"]


@pytest.mark.parametrize(("route", "field"), [("/setup", "schema"), ("/predict", "label_config")])
def test_a_label_config_that_does_not_fit_is_told_in_the_reason_phrase(client: FlaskClient, route: str, field: str) -> None:
    answer = client.post(route, json={**CALLS[route[1:]], field: '<View><Text name="a" value="$a"/></View>'})

    assert assert_refused(answer, 400) == (
        "The label config has no <Pairwise> tags; Pairloop needs exactly one, "
        'such as <Pairwise name="comparison" toName="answer1,answer2"/>.'
    )


def test_a_label_config_that_would_expand_entities_is_refused(client: FlaskClient) -> None:
    bomb = '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><View>&b;</View>'

    line = assert_refused(client.post("/setup", json={**CALLS["setup"], "schema": bomb}), 400)

    assert line.startswith("The label config declares a document type or an entity")


def test_the_reason_phrase_is_ascii_and_short_whatever_the_message_is(client: FlaskClient) -> None:
    answer = client.post(
        "/setup", json={**CALLS["setup"], "schema": f'<View><Pairwise name="é🙂\n{"x" * 999}" toName="a"/></View>'}
    )

    assert answer.status_code == 400
    assert answer.status.isascii() and "\n" not in answer.status and len(answer.status) < 310
    assert "é🙂 x" in answer.get_json()["error"]


def test_http_errors_are_json_too(client: FlaskClient) -> None:
    assert_refused(client.get("/nowhere"), 404)
    assert_refused(client.get("/predict"), 405)
    assert_refused(client.post("/predict", data="{}"), 415)
    too_large = client.post(
        "/predict", data=b"{}", content_type="application/json", environ_overrides={"CONTENT_LENGTH": str(2**28 + 1)}
    )
    assert_refused(too_large, 413)


def test_a_folder_that_cannot_be_written_is_told_with_503(settings_for: SettingsFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    client = create_app(Backend(settings_for(model_dir=tmp_path / "file"))).test_client()

    line = assert_refused(client.post("/webhook", json=CALLS["START_TRAINING"]), 503)

    assert line == f"MODEL_DIR is not writable at {tmp_path}/file/projects/10 (Not a directory); mount it read-write."


def test_people_keep_their_suggestions_on_a_folder_that_can_no_longer_be_written(
    backend: Backend, client: FlaskClient, tiny_base: Path
) -> None:
    version = promote(backend, tiny_base, project=10)
    requests = backend.settings.model_dir / "projects" / "10" / "requests"
    shutil.rmtree(requests)
    requests.write_text("no folder", encoding="utf-8")

    assert client.post("/setup", json=CALLS["setup"]).get_json() == {"model_version": version}
    scored, unanswered = predict(client, [ANSWERED, {**ANSWERED, "answer1": ""}], project=10)
    assert scored and unanswered == []


def test_a_model_that_runs_out_of_memory_leaves_its_tasks_without_a_suggestion(
    backend: Backend, client: FlaskClient, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(backend, tiny_base, project=10)
    serving = backend.champions.of(10).serving
    assert serving is not None

    def fail(*_: object) -> None:
        raise ModelError("Memory ran out.")

    monkeypatch.setattr(serving.model, "score", fail)

    assert predict(client, [ANSWERED] * 3, project=10) == [[]] * 3
    assert b"pairloop_tasks_put_off_total 3.0" in backend.metrics.text()


class Failing(RewardModel):
    """A reward model that cannot score."""

    def __init__(self) -> None: ...

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        raise ZeroDivisionError("secret words")

    def _save_weights(self, folder: Path) -> None: ...


def test_an_error_of_our_own_is_one_line_without_its_words_and_the_log_has_the_trace(
    client: FlaskClient, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.champions.of(PROJECT).serving = Serving(Failing(), "v1-20260101-000000")

    line = assert_refused(client.post("/predict", json=CALLS["predict"]), 500)

    assert line == "ZeroDivisionError; the backend's log has the trace."
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "/predict failed" and record.exc_info is not None


# Who may ask


ROUTES = [("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"), ("GET", "/versions"), ("GET", "/metrics")]
BODIES = {"/setup": CALLS["setup"], "/predict": CALLS["predict"], "/webhook": CALLS["START_TRAINING"]}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(("method", "route"), [*ROUTES, ("GET", "/nowhere")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("ls", "wrong"),
        basic("wrong", "pässword"),
        basic("ls", ""),
        basic("", ""),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "s3cret"},
    ],
    ids=repr,
)
def test_without_the_right_password_every_route_but_health_is_closed(
    locked: FlaskClient, method: str, route: str, headers: dict[str, str]
) -> None:
    answer = locked.open(route, method=method, json=BODIES.get(route), headers=headers)

    assert (answer.status_code, answer.get_json()) == (401, {"error": "Basic auth is required."})
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Pairloop"'


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_the_right_password_opens_every_route(locked: FlaskClient, method: str, route: str) -> None:
    answer = locked.open(route, method=method, json=BODIES.get(route), headers=basic("ls", "pässword"))

    assert answer.status_code in (200, 201)


def test_the_webhooks_secret_opens_the_webhook_alone(locked: FlaskClient) -> None:
    statuses = {
        route: locked.open(route, method=method, json=BODIES.get(route), headers={"Authorization": "Bearer s3cret"}).status_code
        for method, route in ROUTES
    }

    assert statuses == {"/setup": 401, "/predict": 401, "/webhook": 201, "/versions": 401, "/metrics": 401}


def test_an_empty_webhook_secret_opens_nothing(settings_for: SettingsFactory) -> None:
    client = create_app(Backend(settings_for(basic_auth_user="ls", basic_auth_pass="pw"))).test_client()

    for given in ("Bearer ", "Bearer", ""):
        assert client.post("/webhook", json=CALLS["START_TRAINING"], headers={"Authorization": given}).status_code == 401


def test_health_is_open_but_tells_strangers_nothing(locked: FlaskClient) -> None:
    assert locked.get("/health").get_json() == {"status": "UP"}
    assert set(locked.get("/health", headers=basic("ls", "pässword")).get_json()) == {
        "status",
        "model_class",
        "ready",
        "versions",
        "queue",
        "problems",
        "filling",
    }


# Projects


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


def test_health_is_not_kept_waiting_by_predictions_that_take_every_seat(backend: Backend, client: FlaskClient) -> None:
    seats = backend.settings.threads - 3
    for _ in range(seats):
        assert backend._seats.acquire(blocking=False)

    answer = client.post("/predict", json=CALLS["predict"])

    assert answer.status_code == 200
    assert answer.get_json() == {"results": [[] for _ in CALLS["predict"]["tasks"]]}
    assert client.get("/health").get_json()["status"] == "UP"


def test_one_long_request_at_a_time_is_scored_so_that_opened_tasks_keep_their_seats(
    backend: Backend, client: FlaskClient, tiny_base: Path
) -> None:
    registry = Registry(backend.settings.model_dir, 1)
    registry.create()
    registry.promote(publish_version(registry, tiny_base, weight=1))
    backend.champions.of(1).refresh()
    assert backend._long_seats.acquire(blocking=False)  # another one is at it

    assert predict(client, [ANSWERED] * 17, project=1) == [[]] * 17
    assert b"pairloop_tasks_put_off_total 17.0" in backend.metrics.text()
    assert all(predict(client, [ANSWERED] * 16, project=1))
    backend._long_seats.release()

    for _ in range(2):
        assert all(predict(client, [ANSWERED] * 17, project=1)), "the seat was given back"


def test_without_a_seat_tasks_are_scored_whose_answers_are_known(backend: Backend, client: FlaskClient, tiny_base: Path) -> None:
    promote(backend, tiny_base, project=1)
    new = {**ANSWERED, "answer2": "never read before"}
    scored = predict(client, [ANSWERED] * 17, project=1)
    for _ in range(backend.settings.threads - 3):
        assert backend._seats.acquire(blocking=False)
    assert backend._long_seats.acquire(blocking=False)

    assert predict(client, [new, ANSWERED, {**ANSWERED, "answer1": ""}], project=1) == [[], scored[0], []]
    assert predict(client, [ANSWERED] * 16 + [new], project=1) == [*scored[:16], []]
    assert b"pairloop_tasks_put_off_total 2.0" in backend.metrics.text()
    assert backend._looking_up.acquire(blocking=False)  # another long one reads, and threads must be left for /health
    assert predict(client, [ANSWERED] * 17, project=1) == [[]] * 17
    assert predict(client, [ANSWERED] * 16, project=1) == scored[:16]


# Tasks without answers


class Opened:
    """A running backend whose filler waits at its door, over a project of the double: what is answered, /predict answered."""

    def __init__(self, house: House, backend: Backend) -> None:
        self.house, self.backend = house, backend
        self.client = create_app(backend).test_client()

    def predict(self, *task_ids: int) -> Any:
        tasks = [{"id": task_id, "data": dict(self.house.data(task_id))} for task_id in task_ids]
        body = {"tasks": tasks, "project": f"{self.house.project_id}.123", "label_config": LABEL_CONFIG}
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.get_json()["results"]

    def let_the_filler_in(self) -> None:
        self.house.studio.on_request = lambda request: None


def keep_the_filler_out(house: House) -> None:
    """Fails what a filler reads first, which a /predict does not read."""

    def refuse(request: str) -> None:
        if request == f"GET /api/projects/{house.project_id}/":
            house.studio.failures = [503]

    house.studio.on_request = refuse


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(generator_engine="echo", label_studio_api_key=KEY)
    with StudioDouble() as studio, House(studio, dataclasses.replace(settings, label_studio_url=studio.url)) as house:
        keep_the_filler_out(house)
        yield house


Open = Callable[..., Opened]


@pytest.fixture
def opened(house: House) -> Iterator[Open]:
    """Starts a backend, and stops it at the end; keyword arguments are settings."""
    backends: list[Backend] = []

    def start(*, is_chosen: bool = True, **changes: Any) -> Opened:
        backends.append(Backend(dataclasses.replace(house.settings, **changes)))
        backends[-1].start()
        if is_chosen:
            wait_until(lambda: backends[-1]._filler.is_chosen)
        return Opened(house, backends[-1])

    yield start
    for backend in backends:
        backend.stop()


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    """What writes for `openai` engines, as slowly as a test wants."""
    with OpenAIDouble() as server:
        yield server


def test_a_task_that_is_opened_alone_is_answered_and_stored_within_the_request(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY, "note": 7}, meta={"batch": 1})
    page = opened()

    assert page.predict(task) == [[]]  # Label Studio's label stream would show empty boxes beside a suggestion

    assert house.is_answered(task)
    assert (house.data(task)["note"], house.studio.tasks[task]["meta"]["batch"]) == (7, 1)
    assert house.record(task)["filled"] == ["answer1", "answer2"]
    assert house.patched() == [task]
    assert b"pairloop_tasks_answered_total 1.0" in page.backend.metrics.text()


def test_it_gets_the_same_answers_that_the_filler_would_have_given(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    opened().predict(task)
    written = house.answers(task)

    house.edit(task, **EMPTY)
    house.answer()

    assert house.answers(task) == written


def test_a_process_without_the_generator_leaves_it_to_the_filler(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    with FileLock(house.settings.model_dir / "filler.lock"):  # another process fills
        page = opened(is_chosen=False)

        assert page.predict(task) == [[]]

        assert house.patched() == []
        assert house.registry.take_request("fill") is True


def test_a_task_that_label_studio_has_not_stored_yet_is_left_alone(house: House, opened: Open) -> None:
    page = opened()

    assert predict(page.client, [{"prompt": "Why?", **EMPTY}], project=house.project_id) == [[]]  # its id is 0

    assert house.patched() == []


def test_requests_with_several_tasks_do_not_wait_for_answers(
    house: House, opened: Open, server: OpenAIDouble, tiny_base: Path
) -> None:
    version = house.promote(tiny_base, weight=1)
    server.gate.clear()
    tasks = house.add({"prompt": "Why?", **EMPTY}, ANSWERED, {"prompt": "Why not?", **EMPTY})
    page = opened(generator_engine="openai", openai_base_url=server.url, predict_seconds=95)
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)

    results = page.predict(*tasks)

    assert [bool(result) for result in results] == [False, True, False]
    assert results[1]["model_version"] == version
    assert server.requests == [] and house.patched() == []


def test_what_is_not_written_in_time_is_left_to_the_filler(house: House, opened: Open, server: OpenAIDouble) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    server.gate.clear()
    page = opened(generator_engine="openai", openai_base_url=server.url, predict_seconds=0.1, max_similarity=1)

    assert page.predict(task) == [[]]  # while nothing can be written

    assert house.answers(task) == ("", "")
    page.let_the_filler_in()
    server.gate.set()
    wait_until(lambda: all(house.answers(task)))
    assert all(text.startswith("Why?/") for text in house.answers(task))


def test_a_label_studio_that_refuses_the_answers_costs_no_seat(house: House, opened: Open) -> None:
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    page = opened(threads=3)  # one seat

    def refuse(request: str) -> None:
        if not request.startswith("GET /api/tasks/"):
            house.studio.failures = [400 if request.startswith("PATCH") else 503]

    house.studio.on_request = refuse
    assert page.predict(task) == [[]]
    assert house.answers(task) == ("", "")
    keep_the_filler_out(house)

    assert page.predict(task) == [[]]

    assert house.is_answered(task)


def test_a_task_that_was_judged_or_answered_meanwhile_is_not_touched(house: House, opened: Open) -> None:
    judged, answered = house.add(*[{"prompt": "Why?", **EMPTY}] * 2)
    page = opened()
    as_it_was = [{"id": task, "data": dict(house.data(task))} for task in (judged, answered)]
    house.studio.annotate(judged, CHOICE)
    house.edit(answered, answer1="Hers.", answer2="Hers too.")

    for task in as_it_was:
        assert page.backend.predict(house.project_id, LABEL_CONFIG, [task]) == [[]]

    assert house.patched() == []
    assert house.answers(answered) == ("Hers.", "Hers too.")


def test_the_pair_of_an_opened_task_is_chosen_by_the_served_models_rewards_too(
    house: House, opened: Open, tiny_base: Path
) -> None:
    house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "Why?", **EMPTY})
    page = opened(num_candidates=4, pair_strategy="uncertain")
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)

    page.predict(task)

    assert house.record(task)["strategy"] == "uncertain"
    assert len(house.record(task)["rewards"]) == 4


def test_who_waits_for_an_answer_keeps_his_seat_and_others_get_nothing_meanwhile(
    house: House, opened: Open, server: OpenAIDouble, tiny_base: Path
) -> None:
    house.promote(tiny_base, weight=1)
    task, answered = house.add({"prompt": "Why?", **EMPTY}, ANSWERED)
    server.gate.clear()
    page = opened(generator_engine="openai", openai_base_url=server.url, max_similarity=1, threads=3)
    wait_until(lambda: page.backend.champions.of(house.project_id).serving is not None)
    opening = threading.Thread(target=page.predict, args=[task])
    opening.start()
    wait_until(lambda: server.num_under_way == 1)

    assert page.predict(answered) == [[]]
    assert page.client.get("/health").get_json()["status"] == "UP"
    server.gate.set()
    opening.join()

    assert all(house.answers(task))
    assert page.predict(answered) != [[]]


def test_health_tells_what_the_filler_did(house: House, opened: Open) -> None:
    tasks = house.add_prompts(5)
    house.add({"prompt": "", **EMPTY})
    page = opened()
    page.let_the_filler_in()

    def filling() -> Any:
        return page.client.get("/health").get_json()["filling"].get(str(house.project_id), {})

    wait_until(lambda: filling().get("is_filling") is False)
    assert house.is_answered(*tasks)
    assert (filling()["tasks_left"], filling()["tasks_answered"]) == (0, 5)
    assert filling()["tasks_failed"] == {"prompt missing, empty or not text": 1}
    metrics = page.client.get("/metrics").text.splitlines()
    assert f'pairloop_tasks_unanswered{{project="{house.project_id}"}} 0.0' in metrics
    assert "pairloop_tasks_answered_total 5.0" in metrics
    assert "pairloop_tokens_written_total 40.0" in metrics
    unfillable = f'pairloop_tasks_unfillable{{project="{house.project_id}",reason="prompt missing, empty or not text"}} 1.0'
    wait_until(lambda: unfillable in page.client.get("/metrics").text.splitlines())


class Slow(Failing):
    """A reward model that takes a tenth of a second for anything."""

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        time.sleep(0.1)
        return torch.arange(float(len(answers)))

    def confidence(self, reward1: float, reward2: float) -> float:
        return 0.5


def test_what_is_not_scored_in_time_gets_nothing(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(settings_for(predict_seconds=0.05))
    backend.champions.of(PROJECT).serving = Serving(Slow(), "v1-20260101-000000")
    caplog.set_level(logging.INFO, "backend.wiring")

    results = predict(create_app(backend).test_client(), [ANSWERED] * 40)

    assert [bool(result) for result in results] == [True] * 16 + [False] * 24
    assert caplog.messages == [f"project {PROJECT}: 24 tasks of one request are left to the filler"]
