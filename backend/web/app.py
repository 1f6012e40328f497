"""The HTTP contract of a Label Studio ML backend, as label-studio 1.23.2 calls it.

No route waits for a model to load or for Label Studio. Errors are one line of JSON without a trace.
Covered: basic auth in constant time, a webhook secret, bodies (bodies.py), training requests an hour.
Not covered: TLS, and rate limits for other routes; a proxy before this adds both.
"""

import hmac
import importlib.metadata
import logging
import time
from typing import Any

from flask import Flask, Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from backend.contract.openapi import describe
from backend.contract.request_bodies import MAX_BYTES, PredictBody, SetupBody, VersionsQuery, read_body, read_event
from backend.contract.training_limit import ask_for_round, too_often
from backend.dashboard.buttons import retry_header
from backend.dashboard.page import Dashboard, wants_page
from backend.serving.process import Backend
from backend.web.health import Health
from preference.errors import LayoutError, RegistryError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import Versions

logger = logging.getLogger("pairloop.web")
_SETUP_BYTES = 16 * 1024 * 1024  # a label config, and whatever `extra_params` holds
_EVENT_BYTES = 64 * 1024 * 1024  # 5,000 new tasks of 12 kB each; an event that is refused is made up for by the filler's timer
_FILL_EVENTS = {"TASKS_CREATED", "PROJECT_UPDATED"}


def create_app(backend: Backend) -> Flask:
    """The WSGI application over a backend."""
    app = Flask("pairloop", static_folder=None)  # else it serves a folder `static` of wherever it was started
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # it answers without a body
    model_dir, state, dashboard = backend.settings.model_dir, Health(backend), Dashboard(backend)

    @app.get("/")
    def home() -> Response:
        answer = dashboard.page(request) if wants_page(request) else jsonify(status="UP", model_class="PreferenceModel")
        answer.vary.add("Accept")
        return answer

    @app.post("/buttons")
    def buttons() -> Response:
        return dashboard.pressed(request)

    @app.get("/health")
    def health() -> dict[str, Any]:
        if not _is_authorized(backend):
            return {"status": "UP"}
        return state.told()

    @app.post("/setup")
    def setup() -> dict[str, str]:
        body = read_body(request, SetupBody, max_bytes=_SETUP_BYTES)
        return {"model_version": backend.setup(body.project, body.label_config, host=request.host)}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        body = read_body(request, PredictBody)
        tasks = [{"id": task.id, "data": task.data} for task in body.tasks]
        return {"results": backend.predict(body.project, body.label_config, tasks)}

    @app.post("/webhook")
    def webhook() -> Response | tuple[dict[str, str], int]:
        body = read_event(request, max_bytes=_EVENT_BYTES)
        kind = "train" if body.action == "START_TRAINING" else "fill" if body.action in _FILL_EVENTS else None
        if kind is None:
            return {"status": "ignored"}, 200
        if body.project is None:
            return {"error": f"{body.action} names no project."}, 400
        folder = ProjectFolder(model_dir, body.project.id)
        if kind == "fill":
            folder.request("fill")
        elif wait_seconds := ask_for_round(folder, time.time()):
            raise too_often(wait_seconds)
        return {"status": "queued"}, 201

    @app.get("/versions")
    def versions() -> dict[str, list[str]]:
        # Label Studio's GET names no project; ?project=ID asks for one project's.
        wanted = VersionsQuery.model_validate(request.args.to_dict()).project
        try:
            found = [folder for folder in known_projects(model_dir) if wanted in (None, folder.project_id)]
            return {"versions": [version for folder in found for version in Versions(folder).all()]}
        except OSError as error:
            raise RegistryError(f"MODEL_DIR={model_dir} cannot be read ({error.strerror}); mount it read-write.") from error

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(backend.metrics.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return describe(importlib.metadata.version("pairloop"))

    @app.before_request
    def check_authorization() -> tuple[dict[str, str], int, dict[str, str]] | None:
        g.started = time.perf_counter()
        if request.path == "/health" or _is_authorized(backend):
            return None
        return {"error": "Basic auth is required."}, 401, {"WWW-Authenticate": 'Basic realm="Pairloop"'}

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "other"
        backend.metrics.requests.labels(route, response.status_code).inc()
        backend.metrics.seconds.labels(route).observe(time.perf_counter() - g.started)
        return response

    @app.errorhandler(ValidationError)
    def invalid(error: ValidationError) -> Response:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the body"
        return _refusal(f"{place}: {problem['msg'].removeprefix('Value error, ')}", 400)

    @app.errorhandler(LayoutError)
    def misfit(error: LayoutError) -> Response:
        return _refusal(str(error), 400)

    @app.errorhandler(RegistryError)
    def unwritable(error: RegistryError) -> Response:
        return _refusal(str(error), 503)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = _refusal(error.description or error.name, error.code or 500)
        response.headers.extend(retry_header(error))
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:  # a door: Label Studio's page opens without a prediction
        logger.exception("%s failed", request.path)
        return _refusal(f"{type(error).__name__}; the backend's log has the trace.", 500)

    return app


def _refusal(message: str, status: int) -> Response:
    """The message as JSON, and as the reason phrase: that is the part which Label Studio's Model page shows."""
    line = " ".join(message.split())
    response = jsonify({"error": line})
    response.status = f"{status} {line[:300].encode('ascii', 'replace').decode()}"
    return response


def _is_authorized(backend: Backend) -> bool:
    """Whether basic auth is off or right; /webhook may bring the webhook secret instead, all that its events can."""
    settings = backend.settings
    if not settings.basic_auth_user:
        return True
    secret = settings.webhook_secret.get_secret_value()
    if request.path == "/webhook" and secret and _is_same(request.headers.get("Authorization", ""), f"Bearer {secret}"):
        return True
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    is_user = _is_same(given.username or "", settings.basic_auth_user)
    return _is_same(given.password or "", settings.basic_auth_pass.get_secret_value()) and is_user


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
