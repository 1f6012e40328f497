"""The HTTP contract of a Label Studio ML backend, as label-studio 1.23.2 calls it.

No route waits for a model to load or for Label Studio. Errors are one line of JSON without a trace.
Covered: basic auth in constant time, a webhook secret, a size limit, checked types and ids.
Not covered: rate limits, nesting depth of JSON.
"""

import hmac
import logging
import time
from typing import Annotated, Any

from flask import Flask, Response, g, jsonify, request
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from werkzeug.exceptions import HTTPException

from backend.wiring import Backend
from preference.errors import LayoutError, RegistryError
from preference.registry import Registry, known_projects

logger = logging.getLogger(__name__)
_MAX_BYTES = 256 * 1024 * 1024  # "Retrieve predictions" sends all selected tasks in one request
_FILL_EVENTS = {"TASKS_CREATED", "PROJECT_UPDATED"}


def _project_id(value: Any) -> Any:
    """Label Studio names a project "ID.TIMESTAMP"."""
    return value.split(".", 1)[0] if isinstance(value, str) else value


ProjectId = Annotated[int, BeforeValidator(_project_id), Field(ge=1, lt=2**63)]


class _Task(BaseModel):
    id: int | None = None
    data: dict[str, Any]


class _Predict(BaseModel):
    tasks: list[_Task]
    project: ProjectId
    label_config: str


class _Setup(BaseModel):
    project: ProjectId
    label_config: str = Field(validation_alias="schema")


class _Project(BaseModel):
    id: ProjectId


class _Event(BaseModel):
    action: str
    project: _Project | None = None


def create_app(backend: Backend) -> Flask:
    """The WSGI application over a backend."""
    app = Flask("pairloop")
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BYTES
    model_dir = backend.settings.model_dir

    @app.get("/health")
    def health() -> dict[str, Any]:
        if not _is_authorized(backend):
            return {"status": "UP"}
        champions = backend.champions.all()
        return {
            "status": "UP",
            "model_class": "PreferenceModel",  # not imported: label_studio_ml sets multiprocessing's start method and warns
            "versions": {str(project_id): champion.version for project_id, champion in champions.items()},
            "problems": [champion.problem for champion in champions.values() if champion.problem],
            "filling": {str(r.project_id): found for r in known_projects(model_dir) if (found := r.read_progress())},
        }

    @app.post("/setup")
    def setup() -> dict[str, str]:
        body = TypeAdapter(_Setup).validate_python(request.get_json())
        return {"model_version": backend.setup(body.project, body.label_config, host=request.host)}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        body = TypeAdapter(_Predict).validate_python(request.get_json())
        tasks = [task.model_dump() for task in body.tasks]
        return {"results": backend.predict(body.project, body.label_config, tasks)}

    @app.post("/webhook")
    def webhook() -> tuple[dict[str, str], int]:
        body = TypeAdapter(_Event).validate_python(request.get_json())
        kind = "train" if body.action == "START_TRAINING" else "fill" if body.action in _FILL_EVENTS else None
        if kind is None:
            return {"status": "ignored"}, 200
        if body.project is None:
            return {"error": f"{body.action} names no project."}, 400
        Registry(model_dir, body.project.id).request("train" if kind == "train" else "fill")
        return {"status": "queued"}, 201

    @app.get("/versions")
    def versions() -> dict[str, list[str]]:
        # Label Studio's GET names no project; ?project=ID asks for one project's.
        # `type=` of args.get would swallow the error and list every project.
        wanted = None if "project" not in request.args else TypeAdapter(ProjectId).validate_python(request.args["project"])
        found = [registry for registry in known_projects(model_dir) if wanted in (None, registry.project_id)]
        return {"versions": [version for registry in found for version in registry.versions()]}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(backend.metrics.text(), mimetype="text/plain")

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
        return _refusal(f"{place}: {problem['msg']}", 400)

    @app.errorhandler(LayoutError)
    def misfit(error: LayoutError) -> Response:
        return _refusal(str(error), 400)

    @app.errorhandler(RegistryError)
    def unwritable(error: RegistryError) -> Response:
        return _refusal(str(error), 503)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        return _refusal(error.description or error.name, error.code or 500)

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
