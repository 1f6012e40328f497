"""What the routes refuse, in one line each, and what they do if something is broken."""

import logging
import shutil
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from backend.scoring.champion import ServedVersion
from backend.serving.process import Backend
from backend.web.app import create_app
from tests.conftest import SettingsFactory
from tests.support.app_house import ANSWERED, PROJECT, Failing, assert_refused, predict, promote
from tests.support.studio_double import CALLS


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))  # never started: its threads have tests of their own


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


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
def test_a_label_config_that_does_not_fit_is_named_in_the_reason_phrase(client: FlaskClient, route: str, field: str) -> None:
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


def test_a_folder_that_cannot_be_written_is_a_503(settings_for: SettingsFactory, tmp_path: Path) -> None:
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


def test_an_error_of_our_own_is_one_line_without_its_words_and_the_log_has_the_trace(
    client: FlaskClient, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.champions.of(PROJECT).serving = ServedVersion(Failing(), "v1-20260101-000000")

    line = assert_refused(client.post("/predict", json=CALLS["predict"]), 500)

    assert line == "ZeroDivisionError; the backend's log has the trace."
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "/predict failed" and record.exc_info is not None
