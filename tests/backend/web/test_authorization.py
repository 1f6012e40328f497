"""Who may ask."""

import base64

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder, known_projects
from tests.conftest import SettingsFactory
from tests.support.app_house import assert_refused
from tests.support.studio_double import CALLS

ROUTES = [("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"), ("GET", "/versions"), ("GET", "/metrics")]
BODIES = {"/setup": CALLS["setup"], "/predict": CALLS["predict"], "/webhook": CALLS["START_TRAINING"]}


@pytest.fixture
def locked(settings_for: SettingsFactory) -> FlaskClient:
    settings = settings_for(basic_auth_user="ls", basic_auth_pass="pässword", webhook_secret="s3cret")
    return create_app(Backend(settings)).test_client()


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


def test_health_is_open_but_gives_strangers_no_details(locked: FlaskClient) -> None:
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


# The name by which a request calls us

SURE = [
    "localhost", "localhost:9090", "LOCALHOST:9090", "pairloop.localhost", "127.0.0.1:9090", "10.1.2.3", "[::1]:9090", "[fd00::5]",
    "backend:9090", "my_backend:9090", "backend", "gpu-box.local:9090", "host.docker.internal:9090", "host.containers.internal",
    "backend.pairloop.svc:9090", "backend.pairloop.svc.cluster.local:9090", "nas.home.arpa", "nas.lan",
    "pairloop.example.com", "pairloop.example.com:9090", "PAIRLOOP.example.com.:9090", "studio.example.net:9090",
]  # fmt: skip
STRANGE = [
    "evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", "pairloop.example.com.evil.example",
    "evil.local.example", "xlocalhost.example", "evil.example.", "a b", "", "[", "[::1", "é", "evil.example/localhost",
    "user@localhost", "localhost:x", "localhost#evil.example", "x" * 60 + ".example",
]  # fmt: skip


@pytest.fixture
def unlocked(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(backend_url="https://pairloop.example.com/sub", host="studio.example.net"))


@pytest.mark.parametrize("host", SURE)
@pytest.mark.parametrize(("method", "route"), [*ROUTES, ("GET", "/")])
def test_without_a_password_label_studio_may_call_us_by_any_name_that_nobody_registers(
    unlocked: Backend, method: str, route: str, host: str
) -> None:
    answer = create_app(unlocked).test_client().open(route, method=method, json=BODIES.get(route), headers={"Host": host})

    assert answer.status_code in (200, 201), answer.text
    if route == "/setup":
        assert ProjectFolder(unlocked.settings.model_dir, 10).read_host() == host


@pytest.mark.parametrize("host", STRANGE)
def test_without_a_password_no_route_answers_under_a_name_of_somebody_elses(unlocked: Backend, host: str) -> None:
    client = create_app(unlocked).test_client()
    for method, route in [*ROUTES, ("GET", "/"), ("POST", "/buttons"), ("GET", "/openapi.json"), ("GET", "/nowhere")]:
        answer = client.open(route, method=method, json=BODIES.get(route), environ_overrides={"HTTP_HOST": host})
        assert "set BACKEND_URL to this address, or set BASIC_AUTH_USER and BASIC_AUTH_PASS" in assert_refused(answer, 403)

    health = client.get("/health", environ_overrides={"HTTP_HOST": host})
    assert (health.status_code, health.get_json()) == (200, {"status": "UP"}), "a load balancer names what it likes"
    assert not unlocked.settings.model_dir.exists()


def test_a_strange_name_neither_reconnects_a_project_nor_is_remembered(unlocked: Backend) -> None:
    client, folder = create_app(unlocked).test_client(), ProjectFolder(unlocked.settings.model_dir, 10)
    client.post("/setup", json=CALLS["setup"], headers={"Host": "backend:9090"})
    folder.disconnect()

    for route in ("/setup", "/predict", "/webhook"):
        assert client.post(route, json=BODIES[route], headers={"Host": "evil.example"}).status_code == 403

    assert list(known_projects(unlocked.settings.model_dir)) == []
    assert folder.read_host() == "backend:9090"
    assert not folder.is_requested("train")


def test_who_names_no_host_is_no_browser(unlocked: Backend) -> None:
    environ = EnvironBuilder("/versions").get_environ()
    del environ["HTTP_HOST"]

    _, status, _ = run_wsgi_app(create_app(unlocked), environ)

    assert status == "200 OK"


def test_with_a_password_every_name_will_do(locked: FlaskClient) -> None:
    for method, route in ROUTES:
        headers = {**basic("ls", "pässword"), "Host": "evil.example"}
        assert locked.open(route, method=method, json=BODIES.get(route), headers=headers).status_code in (200, 201)
