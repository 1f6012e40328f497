"""/openapi.json says what the routes are, what they take and what they answer."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from backend.contract.openapi import describe
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.support.nightly import IS_NIGHTLY
from tests.support.reward_calls import REWARD_CALLS
from tests.support.studio_double import CALLS
from tests.support.versions import publish_version

NUM_CASES = 200 if IS_NIGHTLY else 15
DESCRIPTION = describe("0")
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"ls:pw").decode()}
OPERATIONS = [(method.upper(), path) for path, methods in DESCRIPTION["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Flask:
    model_dir = tmp_path_factory.mktemp("openapi")
    folder = ProjectFolder(model_dir, 10)
    Versions(folder).promote(publish_version(folder, tiny_base, weight=1))
    locks: dict[str, Any] = {"basic_auth_user": "ls", "basic_auth_pass": "pw"}
    backend = Backend(Settings.of(model_dir=model_dir, device="cpu", generator_engine="echo", torch_threads=1, **locks))
    backend.champions.of(10).refresh()
    return create_app(backend)


@pytest.fixture(scope="module")
def schema(app: Flask) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", app, headers=LOGIN)


def test_it_holds_every_route_of_the_app_and_no_other(app: Flask) -> None:
    routes = {
        (method, re.sub("<(.*?)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }

    assert routes == set(OPERATIONS)


def test_the_description_is_served_behind_the_password(app: Flask) -> None:
    client = app.test_client()

    assert client.get("/openapi.json").status_code == 401
    assert {**client.get("/openapi.json", headers=LOGIN).get_json(), "info": None} == {**DESCRIPTION, "info": None}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_route_that_wants_a_password_says_so(app: Flask, method: str, path: str) -> None:
    operation = DESCRIPTION["paths"][path][method.lower()]

    is_closed = app.test_client().open(path, method=method).status_code == 401

    assert is_closed == ("401" in operation["responses"]) == ({} not in operation["security"])


def test_what_a_body_must_hold_comes_from_the_models() -> None:
    schemas = DESCRIPTION["components"]["schemas"]

    assert schemas["SetupBody"]["required"] == ["project", "schema"]
    assert schemas["PredictBody"]["required"] == ["tasks", "project", "label_config"]
    assert schemas["TaskBody"]["required"] == ["data"]
    assert {"SetupBody", "PredictBody", "EventBody"} <= schemas.keys()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@settings(max_examples=NUM_CASES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_each_route_answers_as_described(schema: BaseSchema, method: str, path: str, drawn: st.DataObject) -> None:
    mode = drawn.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = drawn.draw(schema[path][method].as_strategy(generation_mode=mode))
    # What a label config must say is more than a JSON schema can; parameters that nobody reads are no mistake.
    excluded: Any = [positive_data_acceptance, *([negative_data_rejection] if method == "GET" else [])]
    case.call_and_validate(headers=LOGIN, excluded_checks=excluded)


@pytest.mark.parametrize("name", CALLS)
def test_a_recorded_call_fits_and_is_answered_as_described(app: Flask, schema: BaseSchema, name: str) -> None:
    path = f"/{name}" if name in ("setup", "predict") else "/webhook"
    case: Any = schema[path]["POST"].Case(body=CALLS[name], media_type="application/json")

    assert case.call_and_validate(headers=LOGIN).status_code in (200, 201)


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, bodies in REWARD_CALLS.items() for body in bodies])
def test_a_call_for_rewards_is_answered_as_described(schema: BaseSchema, path: str, body: Any) -> None:
    described = re.sub("/projects/10/", "/projects/{project}/", path)
    parameters = {"project": "10"} if described != path else {}
    case: Any = schema[described]["POST"].Case(body=body, path_parameters=parameters, media_type="application/json")

    assert case.call_and_validate(headers=LOGIN).status_code == 200
