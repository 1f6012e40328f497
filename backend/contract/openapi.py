"""The contract of web/app.py as an OpenAPI 3.1 description: bodies from request_bodies.py's models, answers by hand."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from backend.contract.request_bodies import Body, ButtonBody, EventBody, PredictBody, ProjectId, SetupBody
from backend.contract.reward_bodies import GetRewardBody, PoolingBody, ScoreBody
from preference.projects.version_name import PROJECT_NAME

_REFUSED = {
    400: "The body or a parameter is not what it should be.",
    401: "Basic auth, or on /webhook the webhook's secret, is missing or wrong.",
    403: "Without a password, the request names a host that is not known to be the backend's; or a button's page is another site's, or old.",
    404: "There is no such project, or no such version of it.",
    413: "The body is too large, or would take too much memory.",
    415: "The body is not declared as JSON.",
    429: "Training was asked for too often; Retry-After says for how many seconds not to.",
    500: "An error of Pairloop's own; its log says where.",
    503: "MODEL_DIR cannot be read or written, or other requests take the memory or the time that there is for them; or the version is not loaded.",
}
_TEXT: dict[str, Any] = {"type": "string"}
_REGION = {
    "type": "object",
    "properties": {
        "from_name": _TEXT,
        "to_name": _TEXT,
        "type": _TEXT,
        "value": {"type": "object"},
        "readonly": {"const": True},  # of a reward
    },
    "required": ["from_name", "to_name", "type", "value"],
    "additionalProperties": False,
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "result": {"type": "array", "items": _REGION},  # empty if nothing is suggested
        "score": {"type": "number", "minimum": 0.5, "maximum": 1},
        "model_version": _TEXT,
    },
    "required": ["result", "score", "model_version"],
    "additionalProperties": False,
}
_NOTHING_YET = {"type": "array", "maxItems": 0}


def _answer(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@dataclass(frozen=True)
class _Route:
    method: str
    summary: str
    answers: dict[int, dict[str, Any]]  # the schema of each answer's JSON; empty for one without a body of use
    refusals: tuple[int, ...] = (401, 403, 500)
    body: type[Body] | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    security: list[dict[str, list[str]]] = field(default_factory=lambda: [{"basic": []}])
    media_type: str = "application/json"
    has_page: bool = False  # whether a browser gets HTML instead
    body_type: str = "application/json"


_HEALTH = {"type": "object", "properties": {"status": {"const": "UP"}}, "required": ["status"]}
_BODY_REFUSALS = (400, 401, 403, 413, 415, 500, 503)
_REWARD_REFUSALS = (400, 401, 403, 404, 413, 415, 500, 503)
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_ONE_NUMBER = {**_NUMBERS, "minItems": 1, "maxItems": 1}
_OF_PROJECT: tuple[dict[str, Any], ...] = (
    {"name": "project", "in": "path", "required": True, "schema": {"type": "string", "pattern": f"^{PROJECT_NAME}$"},
     "description": "A project whose served version scores, or one version of it: 12, 12@v3, 12@v3-20261121-062026."},
)  # fmt: skip


def _as_vllm(**entry: Any) -> dict[str, Any]:
    entries = {"type": "array", "items": _answer(index={"type": "integer"}, **entry)}
    return _answer(id=_TEXT, object={"const": "list"}, created={"type": "integer"}, model=_TEXT, data=entries)


_ROUTES = {
    "/": _Route(
        "get", "That the backend is up; for a browser, the dashboard of a project.",
        {200: _answer(status={"const": "UP"}, model_class=_TEXT)}, has_page=True,
        parameters=(
            {"name": "project", "in": "query", "description": "The dashboard's; without it the newest.", "schema": _TEXT},
            {"name": "message", "in": "query", "description": "What a button did, signed.", "schema": _TEXT},
        ),
    ),
    "/buttons": _Route(
        "post", "A button of the dashboard, whose page holds the token; leads back to it. A browser gets a refusal as that page.", {303: {}},
        refusals=(400, 401, 403, 413, 415, 429, 500, 503), body=ButtonBody, body_type="application/x-www-form-urlencoded",
    ),
    "/health": _Route(
        "get", "Whether the backend is up; its state for those who are allowed to see it.", {200: _HEALTH}, refusals=(500,),
        security=[{}, {"basic": []}],
    ),
    "/setup": _Route(
        "post", "Makes a project known, and names the version that is served.", {200: _answer(model_version=_TEXT)},
        refusals=_BODY_REFUSALS, body=SetupBody,
    ),
    "/predict": _Route(
        "post", "One entry a task, in order: a prediction, or [] if there is none yet.",
        {200: _answer(results={"type": "array", "items": {"anyOf": [_PREDICTION, _NOTHING_YET]}})},
        refusals=_BODY_REFUSALS, body=PredictBody,
    ),
    "/webhook": _Route(
        "post", "Takes an event: START_TRAINING asks for a round, TASKS_CREATED and PROJECT_UPDATED for a look at the tasks.",
        {200: _answer(status={"const": "ignored"}), 201: _answer(status={"const": "queued"})},
        refusals=(*_BODY_REFUSALS, 429), body=EventBody, security=[{"basic": []}, {"webhook": []}],
    ),
    "/versions": _Route(
        "get", "The published versions, oldest first.", {200: _answer(versions={"type": "array", "items": _TEXT})},
        refusals=(400, 401, 403, 500, 503),
        parameters=(
            {"name": "project", "in": "query", "description": "This one's alone.", "schema": TypeAdapter(ProjectId).json_schema()},
        ),
    ),
    "/score": _Route(
        "post", "The rewards of answers to one prompt, and for each two how probable it is that people prefer the first.",
        {200: _answer(project={"type": "integer"}, version=_TEXT, rewards=_NUMBERS, preferences={"type": "array", "items": _NUMBERS})},
        refusals=_REWARD_REFUSALS, body=ScoreBody,
    ),
    "/projects/{project}/get_reward": _Route(
        "post", "The rewards of texts that hold a prompt and its answer each, in OpenRLHF's form, and in LLaMA-Factory's (`messages`).",
        {200: _answer(rewards=_NUMBERS, scores=_NUMBERS, extra_logs={"type": "object"}, version=_TEXT)},
        refusals=_REWARD_REFUSALS, body=GetRewardBody, parameters=_OF_PROJECT,
    ),
    "/projects/{project}/classify": _Route(
        "post", "The same in vLLM's form: between 0 and 1, or the rewards as they are with `use_activation` false.",
        {200: _as_vllm(label=_TEXT, probs=_ONE_NUMBER, num_classes={"const": 1})},
        refusals=_REWARD_REFUSALS, body=PoolingBody, parameters=_OF_PROJECT,
    ),
    "/projects/{project}/pooling": _Route(
        "post", "The same in vLLM's other form.", {200: _as_vllm(object={"const": "pooling"}, data=_ONE_NUMBER)},
        refusals=_REWARD_REFUSALS, body=PoolingBody, parameters=_OF_PROJECT,
    ),
    "/metrics": _Route("get", "Figures in Prometheus' text format.", {200: _TEXT}, media_type="text/plain"),
    "/openapi.json": _Route("get", "This description.", {200: {"type": "object"}}),
}  # fmt: skip


def describe(version: str) -> dict[str, Any]:
    """The description, as JSON can hold it. `version` is Pairloop's."""
    bodies = list(dict.fromkeys((route.body, "validation") for route in _ROUTES.values() if route.body is not None))
    _, models = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pairloop, a machine learning backend of Label Studio", "version": version},
        "paths": {path: {route.method: _operation(route)} for path, route in _ROUTES.items()},
        "components": {
            "schemas": {**models["$defs"], "Refusal": _answer(error=_TEXT)},
            "responses": {
                str(status): {"description": why, "content": _content({"$ref": "#/components/schemas/Refusal"})}
                for status, why in _REFUSED.items()
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "webhook": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: _Route) -> dict[str, Any]:
    answers: dict[str, Any] = {
        str(status): {"description": "Done.", **({"content": _content(schema, route.media_type)} if schema else {})}
        for status, schema in route.answers.items()
    }
    if route.has_page:
        answers["200"]["content"] |= _content(_TEXT, "text/html")
    refusals = {str(status): {"$ref": f"#/components/responses/{status}"} for status in route.refusals}
    operation: dict[str, Any] = {"summary": route.summary, "security": route.security, "responses": answers | refusals}
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": _content(schema, route.body_type)}
    return operation


def _content(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}
