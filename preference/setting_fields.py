"""What the settings' fields and groups are made of: types that check a value, and what a group has in common."""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from preference.labelling.controls.criteria import conditions
from preference.labelling.task_data import named_fields

_MOST_WEIGHT = 10


def _web_address(value: str) -> str:
    if not re.match(r"https?://[^/]", value):
        raise ValueError("should start with http:// or https://, and name a host")
    return value.rstrip("/")


def _schedule(value: str) -> str:
    """Checks the shape only; trainer/daemon/schedule.py, which owns APScheduler, checks each cron field at start."""
    if not re.fullmatch(r"[1-9]\d*[smhd]|\S+( \S+){4}", value):
        raise ValueError("should be a cron line such as `0 3 * * *` or an interval such as `30m` (s, m, h, d)")
    return value


def _stop_texts(value: Any) -> Any:
    """Reads the JSON list that a variable holds."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise ValueError('should be a JSON list of texts such as ["\\n\\nHuman:"]')
    return value


def _where(value: str) -> str:
    conditions(value)
    return value


def _fields(value: str) -> str:
    named_fields(value)
    return value


def annotator_weights(text: str) -> dict[str, float]:
    """What people's votes count in training, by the name, e-mail address or number of each; of "ann@example.org:.5,7:0".

    Raises:
        ValueError: it says something else.
    """
    weights: dict[str, float] = {}
    for each in filter(None, (each.strip() for each in text.split(","))):
        name, _, weight = each.rpartition(":")
        name = name.strip()
        if not name or not re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*", weight) or float(weight) > _MOST_WEIGHT:
            raise ValueError(
                f"{each!r} should be an annotator's number or e-mail address and a weight of 0 to {_MOST_WEIGHT}, such as ann@example.org:.5"
            )
        if name in weights:
            raise ValueError(f"{name!r} has two weights; leave one")
        weights[name] = float(weight)
    return weights


def _annotator_weights(value: str) -> str:
    annotator_weights(value)
    return value


def _engine_model(value: str) -> str:
    if value and not re.fullmatch(r"(huggingface|openai|echo):\S.*", value):
        raise ValueError("should be ENGINE:MODEL, such as openai:gpt-4o-mini; the engines are huggingface, openai and echo")
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]
StopTexts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_stop_texts)]
Schedule = Annotated[str, AfterValidator(_schedule)]
Where = Annotated[str, AfterValidator(_where)]
Fields = Annotated[str, AfterValidator(_fields)]
AnnotatorWeights = Annotated[str, AfterValidator(_annotator_weights)]
EngineModel = Annotated[str, AfterValidator(_engine_model)]


def advanced(default: Any, **limits: Any) -> Any:
    """A field that nobody needs to turn: docs/settings.md has it under *Advanced*."""
    return Field(default, json_schema_extra={"advanced": True}, **limits)


def after(prefix: str) -> Callable[[str], str]:
    """Names the variable of each field of a group whose variables all begin with `prefix`."""
    return lambda name: prefix + name.upper()


class Group(BaseModel, frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, alias_generator=after("")):
    """Settings of one subject, which is the class's title. Each field names its variable: by its own name in capitals if nothing else."""
