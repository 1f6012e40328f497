"""The HTTP contract of a Label Studio ML backend, as label-studio 1.23.2 calls it, and the routes of rewards for other programs.

No route waits for Label Studio, or for a model to load, except for one that a request for rewards names. Errors are one line of
JSON without a trace.
Covered: who may ask (authorization.py), bodies (request_bodies.py), their memory (request_memory.py), training requests an
hour (training_limit.py).
Not covered: TLS, and rate limits for other routes; a proxy before this adds both.
"""

import importlib.metadata
import logging
import time
from typing import Any

from flask import Flask, Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, Unauthorized

from backend.contract.openapi import describe
from backend.contract.request_bodies import PredictBody, SetupBody, VersionsQuery, read_body, read_event, read_to_the_end
from backend.contract.request_memory import RequestMemory
from backend.contract.training_limit import ask_for_round, retry_header, too_often
from backend.dashboard.page import Dashboard, wants_page
from backend.rewards_api.routes import RewardRoutes
from backend.serving.process import Backend
from backend.web.authorization import host_of, refusal
from backend.web.health import Health
from preference.errors import LayoutError, ModelError, RegistryError
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import Versions

logger = logging.getLogger("pairloop.web")
_SETUP_BYTES = 16 * 1024 * 1024  # a label config, and whatever `extra_params` holds
_FILL_EVENTS = {"TASKS_CREATED", "PROJECT_UPDATED"}


def create_app(backend: Backend, *, health: Health | None = None, memory: RequestMemory | None = None) -> Flask:
    """The WSGI application over a backend. `memory`: what all its requests may take."""
    app = Flask("pairloop", static_folder=None)  # else it serves a folder `static` of wherever it was started
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # it answers without a body
    memory = memory or RequestMemory()
    routes = _Routes(backend, health or Health(backend), memory)
    for path, answer in (
        ("/", routes.home), ("/health", routes.health), ("/versions", routes.versions), ("/metrics", routes.metrics),
        ("/openapi.json", routes.openapi),
    ):  # fmt: skip
        app.add_url_rule(path, view_func=answer, methods=["GET"])
    for path, take in (
        ("/setup", routes.setup), ("/predict", routes.predict), ("/webhook", routes.webhook), ("/buttons", routes.buttons),
    ):  # fmt: skip
        app.add_url_rule(path, view_func=take, methods=["POST"])
    RewardRoutes(backend, memory).add_to(app)
    app.before_request(routes.check_access)
    app.after_request(routes.finish)
    app.register_error_handler(ValidationError, _invalid)
    app.register_error_handler(LayoutError, lambda error: _refusal(str(error), 400))
    app.register_error_handler(RegistryError, lambda error: _refusal(str(error), 503))
    app.register_error_handler(ModelError, lambda error: _refusal(str(error), 503))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


class _Routes:
    """What each route answers, and what is done around each request."""

    def __init__(self, backend: Backend, health: Health, memory: RequestMemory) -> None:
        self._backend, self._health, self._memory, self._dashboard = backend, health, memory, Dashboard(backend)
        self._model_dir, self._server = backend.settings.model_dir, backend.settings.server
        self._log_once = LogOnce()

    def home(self) -> Response:
        answer = self._dashboard.page(request) if wants_page(request) else jsonify(status="UP", model_class="PreferenceModel")
        answer.vary.add("Accept")
        return answer

    def health(self) -> dict[str, Any]:
        return {"status": "UP"} if refusal(request, self._server) else self._health.read()

    def versions(self) -> dict[str, list[str]]:
        # Label Studio's GET names no project; ?project=ID asks for one project's.
        wanted = VersionsQuery.model_validate(request.args.to_dict()).project
        versions: list[str] = []
        try:
            for folder in known_projects(self._model_dir):
                if wanted is None:
                    versions += self._versions_of(folder)
                elif wanted == folder.project_id:
                    versions += Versions(folder).all()
        except OSError as error:
            raise RegistryError(f"MODEL_DIR={self._model_dir} cannot be read ({error.strerror}); mount it read-write.") from error
        return {"versions": versions}

    def _versions_of(self, folder: ProjectFolder) -> list[str]:
        """A project's versions; none if they cannot be read, so that the other projects' are answered."""
        try:
            versions = Versions(folder).all()
        except OSError as error:
            if self._log_once.is_news(folder.project_id, str(error)):
                logger.warning("project %d: its versions cannot be read (%s)", folder.project_id, error)
            return []
        self._log_once.forget(folder.project_id)
        return versions

    def metrics(self) -> Response:
        return Response(self._backend.metrics.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def openapi(self) -> dict[str, Any]:
        return describe(importlib.metadata.version("pairloop"))

    def setup(self) -> dict[str, str]:
        with self._memory.share() as share:
            body = read_body(request, SetupBody, share, max_bytes=_SETUP_BYTES)
            return {"model_version": self._backend.setup(body.project, body.label_config, host=host_of(request))}

    def predict(self) -> Response:
        with self._memory.share() as share:
            body = read_body(request, PredictBody, share)
            return jsonify(results=self._backend.predict(body.project, body.label_config, body.tasks, share.grow_by))

    def webhook(self) -> tuple[dict[str, str], int]:
        with self._memory.share() as share:
            body = read_event(request, share)
        kind = "train" if body.action == "START_TRAINING" else "fill" if body.action in _FILL_EVENTS else None
        if kind is None:
            return {"status": "ignored"}, 200
        if body.project is None:
            return {"error": f"{body.action} names no project."}, 400
        folder = ProjectFolder(self._model_dir, body.project.id)
        if kind == "fill":
            folder.request("fill")
        elif wait_seconds := ask_for_round(folder, time.time()):
            raise too_often(wait_seconds)
        return {"status": "queued"}, 201

    def buttons(self) -> Response:
        return self._dashboard.pressed(request)

    def check_access(self) -> None:
        g.started = time.perf_counter()
        if request.path != "/health" and (refused := refusal(request, self._server)) is not None:
            raise refused

    def finish(self, response: Response) -> Response:
        if response.status_code >= 400:
            read_to_the_end(request)
        route = request.url_rule.rule if request.url_rule else "other"
        self._backend.metrics.requests.labels(route, response.status_code).inc()
        self._backend.metrics.seconds.labels(route).observe(time.perf_counter() - g.started)
        return response


def _invalid(error: ValidationError) -> Response:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"])) or "the body"
    return _refusal(f"{place}: {problem['msg'].removeprefix('Value error, ')}", 400)


def _http_error(error: HTTPException) -> Response:
    response = _refusal(error.description or error.name, error.code or 500)
    response.headers.extend(retry_header(error))
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Basic realm="Pairloop"'
    return response


def _unexpected(error: Exception) -> Response:  # else Label Studio's page would not open
    logger.exception("%s failed", request.path)
    return _refusal(f"{type(error).__name__}; the backend's log has the trace.", 500)


def _refusal(message: str, status: int) -> Response:
    """The message as JSON, and as the reason phrase: that is the part which Label Studio's Model page shows."""
    line = " ".join(message.split())
    response = jsonify({"error": line})
    response.status = f"{status} {line[:300].encode('ascii', 'replace').decode()}"
    return response
