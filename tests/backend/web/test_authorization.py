"""Who may ask."""

import base64

import pytest
from flask.testing import FlaskClient

from backend.serving.process import Backend
from backend.web.app import create_app
from tests.conftest import SettingsFactory
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
