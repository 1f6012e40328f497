"""What Label Studio sends, checked before anything is made of it; fields that Pairloop has no use for are dropped.

So `hostname`, `access_token`, `extra_params` and `params` go no further than this file.
Covered: size by route, memory by process (request_memory.py), nesting, syntax, types, ids.
Not covered: NaN and Infinity, which Python's json reads as numbers, and keys that stand twice, of which the last one counts.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal, NotRequired, TypeVar
from urllib.parse import parse_qsl

from flask import Request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, BeforeValidator, FailFast, Field, ValidationError, WithJsonSchema
from typing_extensions import TypedDict  # typing's is of no use to pydantic before Python 3.12
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from backend.contract.request_memory import Share, Weight

MAX_BYTES = 64 * 1024 * 1024  # "Retrieve predictions" sends all selected tasks in one request, an import up to 5,000 new ones
_PIECE_BYTES = 64 * 1024
MAX_DEPTH = 64  # Label Studio's own fields nest six deep; beyond some 900, Python's json gives up. An event's payload: some 200
_MAX_ID = 2**63 - 1
_PROJECT = re.compile(r"([0-9]{1,19})(\.[0-9]*)?")
BodyT = TypeVar("BodyT", bound="Body")


def _project_id(value: Any) -> Any:
    if isinstance(value, str):
        named = _PROJECT.fullmatch(value)
        if named is None:
            raise ValueError('should be a number, or "ID.TIMESTAMP" as Label Studio names a project')
        return int(named[1])
    return value


ProjectId = Annotated[
    int,
    BeforeValidator(_project_id),
    Field(strict=True, ge=1, le=_MAX_ID),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": _MAX_ID},
                   {"type": "string", "pattern": r"^[1-9][0-9]{0,17}(\.[0-9]+)?$", "examples": ["10.1795241174"]}]}
    ),
]  # fmt: skip
TaskId = Annotated[int, Field(strict=True, ge=0, le=_MAX_ID)]


class Body(BaseModel):
    """What one route takes."""


class TaskBody(TypedDict):
    """A task: its id if it has one, and its fields, whatever they hold. No model, which would take twice the memory."""

    id: NotRequired[TaskId | None]
    data: dict[str, Any]
    meta: NotRequired[Any]
    total_annotations: NotRequired[Any]
    cancelled_annotations: NotRequired[Any]


class SetupBody(Body):
    """/setup: a project and its label config."""

    project: ProjectId
    label_config: str = Field(validation_alias="schema")


class PredictBody(Body):
    """/predict: tasks of one project."""

    tasks: Annotated[list[TaskBody], FailFast()]  # the first error is all that is answered, and each takes a kB
    project: ProjectId
    label_config: str


class ProjectBody(BaseModel):
    """The project that an event is about."""

    id: ProjectId


class EventBody(Body):
    """/webhook: an event; its payload may be lost, so nothing is read from it."""

    action: str
    project: ProjectBody | None = None


class ButtonBody(Body):
    """/buttons: a button of the dashboard, for the project that it stood beside."""

    button: Literal["train", "rollback", "fill", "promote"]
    project: ProjectId
    token: str
    version: str = ""  # to be served; it names the kind as well: g1-... and base are generators


class VersionsQuery(BaseModel):
    """/versions: one project, or all."""

    project: ProjectId | None = None


def read_body(request: Request, kind: type[BodyT], share: Share, *, max_bytes: int = MAX_BYTES) -> BodyT:
    """The request's body, checked. `share`: of the process's memory; it is the body's for as long as the body is used.

    Raises:
        HTTPException: it is too large, not JSON, or nested too deeply.
        ValidationError: a field is missing or of another type.
    """
    return kind.model_validate(_parsed(_text(request, share, max_bytes)))


def read_event(request: Request, share: Share, *, max_bytes: int = MAX_BYTES) -> EventBody:
    """The same for an event, without making anything of its payload: 5,000 new tasks would hold every thread for long.

    Raises:
        HTTPException: as read_body.
        ValidationError: as read_body.
    """
    text = _text(request, share, max_bytes)
    try:
        return EventBody.model_validate_json(text)
    except ValidationError:  # also half an emoji, which pydantic's parser refuses and Python's takes
        return EventBody.model_validate(_parsed(text))


def read_form(request: Request, kind: type[BodyT], *, max_bytes: int) -> BodyT:
    """The same for what a page's form sends, which is short.

    Raises:
        HTTPException: it is too large, or no form.
        ValidationError: as read_body.
    """
    if request.mimetype != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("The body must be a form, with Content-Type: application/x-www-form-urlencoded.")
    try:
        fields = parse_qsl(_bytes(request, None, max_bytes).decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        raise BadRequest("The form has more than 10 fields.") from None
    return kind.model_validate(dict(fields))


def read_to_the_end(request: Request) -> None:
    """Reads what remains of a body, and keeps none of it. Whoever still sends would not read the answer, but find the connection closed."""
    with suppress(HTTPException, ParseException, OSError):
        while request.stream.read(_PIECE_BYTES):
            pass


def _text(request: Request, share: Share, max_bytes: int) -> bytes:
    if not request.is_json:
        raise UnsupportedMediaType("The body must be JSON, with Content-Type: application/json.")
    return _bytes(request, share, max_bytes)


def _bytes(request: Request, share: Share | None, max_bytes: int) -> bytes:
    try:
        return b"".join(_pieces(request, share, max_bytes))
    except ParseException:  # gunicorn reads chunks no sooner than we read the body; it closes the connection afterwards
        raise BadRequest("The body's chunks are malformed.") from None
    except OSError as error:
        raise ClientDisconnected from error


def _pieces(request: Request, share: Share | None, max_bytes: int) -> Iterator[bytes]:
    """The body as it arrives, as long as it is not too long and there is memory for what it may become."""
    _check_length(request.content_length or 0, max_bytes)
    weight, num_bytes = Weight(), 0
    while piece := request.stream.read(_PIECE_BYTES):
        num_bytes += len(piece)
        _check_length(num_bytes, max_bytes)
        weight.add(piece)
        if share is not None:
            share.grow_to(weight.num_bytes)
        yield piece


def _check_length(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise RequestEntityTooLarge(
            f"The body is larger than {max_bytes:,} bytes, which is the most here; send fewer tasks at a time."
        )


def _parsed(text: bytes) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, an integer of thousands of digits, thousands of brackets
        raise BadRequest(f"The body is not JSON that can be read ({type(error).__name__}).") from None
    level = _inside([value])
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return value
        level = [inner for outer in level for inner in _inside(outer)]
    raise BadRequest(f"The body nests more than {MAX_DEPTH} deep.")


def _inside(outer: dict[str, Any] | list[Any]) -> list[Any]:
    """What a value holds that may hold something."""
    return [inner for inner in (outer.values() if isinstance(outer, dict) else outer) if isinstance(inner, dict | list)]
