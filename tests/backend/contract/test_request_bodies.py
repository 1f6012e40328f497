"""Bodies that JSON allows and Label Studio does not send."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.contract.request_bodies import MAX_DEPTH
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory
from tests.support.studio_double import CALLS

ROUTES = {"/setup": CALLS["setup"], "/predict": CALLS["predict"], "/webhook": CALLS["START_TRAINING"]}
TASK = CALLS["predict"]["tasks"][0]


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


def post(client: FlaskClient, route: str, text: str | bytes) -> TestResponse:
    return client.post(route, data=text, content_type="application/json")


def refusal(answer: TestResponse, status: int = 400) -> str:
    assert answer.status_code == status
    assert answer.mimetype == "application/json" and list(answer.get_json()) == ["error"]
    return str(answer.get_json()["error"])


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("route", "depth"),
    [
        (route, depth)
        for route in ROUTES
        for depth in (MAX_DEPTH, 500, 2_000, 1_000_000)
        if (route, depth) != ("/webhook", MAX_DEPTH)
    ],
)  # nothing is made of an event's payload, so it may nest deeper
def test_a_body_that_nests_too_deep_is_refused(client: FlaskClient, route: str, depth: int) -> None:
    text = json.dumps({**ROUTES[route], "extra_params": "HERE"}).replace('"HERE"', nested(depth))

    assert refusal(post(client, route, text)) in (
        f"The body nests more than {MAX_DEPTH} deep.",
        "The body is not JSON that can be read (RecursionError).",
    )


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_may_nest_as_deep_as_the_limit(client: FlaskClient, route: str) -> None:
    text = json.dumps({**ROUTES[route], "extra_params": "HERE"}).replace('"HERE"', nested(MAX_DEPTH - 1))

    assert post(client, route, text).status_code in (200, 201)


def test_an_event_with_half_an_emoji_is_taken(client: FlaskClient) -> None:
    text = json.dumps({**CALLS["START_TRAINING"], "task": "HERE"}).replace("HERE", r"\ud83d")

    assert post(client, "/webhook", text).status_code == 201


def test_objects_count_as_levels_too(client: FlaskClient) -> None:
    text = '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1)

    assert refusal(post(client, "/predict", text)) == f"The body nests more than {MAX_DEPTH} deep."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "The body is not JSON: Expecting property name enclosed in double quotes at character 1."),
        (b"\xff{}", "The body is not JSON that can be read (UnicodeDecodeError)."),
        ("", "The body is not JSON: Expecting value at character 0."),
        ("9" * 5_000, "The body is not JSON that can be read (ValueError)."),
        ('"it"', "the body: Input should be a valid dictionary or instance of SetupBody"),
    ],
    ids=["cut", "no UTF-8", "empty", "a huge integer", "a text"],
)
def test_the_fault_of_a_body_is_named_without_quoting_the_body(client: FlaskClient, text: str | bytes, message: str) -> None:
    assert refusal(post(client, "/setup", text)) == message


def test_a_body_of_another_type_says_which_it_should_have(client: FlaskClient) -> None:
    answer = client.post("/setup", data=json.dumps(CALLS["setup"]), content_type="text/plain")

    assert refusal(answer, 415) == "The body must be JSON, with Content-Type: application/json."


@pytest.mark.parametrize("number", [True, 1.5, "1", -1, 2**63, 10**40, float("nan"), [1], "../1"], ids=repr)
def test_a_task_id_that_is_none_is_refused(client: FlaskClient, number: Any) -> None:
    body = {**CALLS["predict"], "tasks": [{**TASK, "id": number}]}

    assert refusal(client.post("/predict", json=body)).startswith("tasks.0.id: ")


@pytest.mark.parametrize(
    "project",
    [
        True,
        1.0,
        " 1",
        "1 ",
        "1_0",
        "+1",
        "0",
        "00",
        "1.x",
        "1.2.3",
        ".1",
        "1/..",
        "%2e",
        "\u0661",
        "1\n",
        "9" * 20,
        str(2**63),
        "\0",
    ],
    ids=repr,
)
def test_a_project_that_python_would_read_as_a_number_is_none_all_the_same(
    client: FlaskClient, backend: Backend, project: Any
) -> None:
    for route, body in ROUTES.items():
        named = {"id": project} if route == "/webhook" else project
        assert refusal(client.post(route, json={**body, "project": named})).startswith("project")
    if isinstance(project, str):
        assert refusal(client.get("/versions", query_string={"project": project})).startswith("project: ")

    assert not backend.settings.model_dir.exists()


@pytest.mark.parametrize(
    "data",
    [
        {"prompt": None, "answer1": [1], "answer2": {"a": 1}},
        {"prompt": 10**400, "answer1": True, "answer2": -0.0},
        {"prompt": "cut \ud83d", "answer1": "\udc00", "answer2": "\0"},
        {"\ud83d": 1, "": "", "prompt": "p"},
    ],
    ids=["no texts", "numbers", "halves of emojis", "keys"],
)
def test_a_task_may_hold_anything(client: FlaskClient, data: dict[str, Any]) -> None:
    answer = client.post("/predict", json={**CALLS["predict"], "tasks": [{"id": 1, "data": data}]})

    assert (answer.status_code, answer.get_json()) in [(200, {"results": [[]]})]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_know_are_accepted_in_fields_that_nobody_reads(client: FlaskClient, number: str) -> None:
    text = json.dumps({**CALLS["predict"], "tasks": [{"id": 1, "data": {"prompt": "HERE"}}]}).replace('"HERE"', number)

    assert post(client, "/predict", text).get_json() == {"results": [[]]}


def test_of_a_key_that_stands_twice_the_last_one_counts(client: FlaskClient, backend: Backend) -> None:
    text = '{"action": "TASKS_CREATED", "action": "START_TRAINING", "project": {"id": 1, "id": 2}}'

    assert post(client, "/webhook", text).status_code == 201
    assert ProjectFolder(backend.settings.model_dir, 2).is_requested("train")
    assert not ProjectFolder(backend.settings.model_dir, 1).path.exists()


def test_an_import_of_5000_tasks_of_long_texts_is_a_webhook_like_any_other(client: FlaskClient) -> None:
    task = {**TASK, "data": {"prompt": "long " * 1_000, "answer1": "", "answer2": ""}}
    text = json.dumps({**CALLS["TASKS_CREATED"], "tasks": [task] * 5_000})  # 28 MB

    assert post(client, "/webhook", text).status_code == 201


@pytest.mark.parametrize(("route", "megabytes"), [("/setup", 16), ("/webhook", 64), ("/predict", 256)])
def test_each_route_has_a_size_that_it_refuses_unread(client: FlaskClient, route: str, megabytes: int) -> None:
    environ = {"CONTENT_LENGTH": str(megabytes * 2**20 + 1)}
    answer = client.post(route, data=b"{}", content_type="application/json", environ_overrides=environ)

    refusal(answer, 413)


@pytest.mark.parametrize("route", ["/setup/", "/setup//", "/x//setup", "/static/app.py", "/../setup", "/.env"])
def test_no_path_leads_anywhere_else(client: FlaskClient, route: str) -> None:
    refusal(client.get("/", environ_overrides={"PATH_INFO": route}), 404)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "DELETE", "CONNECT"])
@pytest.mark.parametrize("route", [*ROUTES, "/health", "/versions", "/metrics", "/openapi.json"])
def test_other_methods_are_refused_in_json(client: FlaskClient, route: str, method: str) -> None:
    refusal(client.open(route, method=method), 405)


@pytest.mark.parametrize(
    "config",
    [
        '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>',
        f"<View>{'<a>' * 5_000}{'</a>' * 5_000}</View>",
        f"<View>{'<Text/>' * 1_500_000}</View>",
        "no XML",
        "\0",
        "",
    ],
    ids=["external entity", "deep", "10 MB", "text", "NUL", "empty"],
)
def test_a_label_config_that_is_none_is_refused_through_each_route(client: FlaskClient, backend: Backend, config: str) -> None:
    for route, field in (("/setup", "schema"), ("/predict", "label_config")):
        message = refusal(client.post(route, json={**ROUTES[route], field: config}))
        assert message.startswith("The label config ") and "root:" not in message

    assert not backend.settings.model_dir.exists()
