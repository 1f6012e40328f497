"""Criteria and reasons: what annotators fill beside the comparison, by the name of its control, and conditions on that.

They are kept as the text of a JSON object. Of a control's value it holds what people see: a choice is its text (its alias, if it has
one), a <Rating> or <Number> a number, a <TextArea> its text, several choices a list. Any other control's value is held as it is.

Not covered: to which place of a text or a conversation a value belongs; values of all places are one list.
"""

import json
import operator
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

NONE = "{}"
_CONDITION = re.compile(r"\s*([^=!<>]*[^=!<>\s])\s*(>=|<=|!=|=|>|<)\s*(.*\S)\s*")
_KNOWN = ("choices", "rating", "number", "textarea", "pairwise")
_ORDERS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def criteria_text(regions: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    """What these regions say, each of which is a control's name, its type and a value."""
    said: dict[str, list[Any]] = {}
    for name, kind, value in regions:
        said.setdefault(name, []).extend(_parts(kind, value))
    held = {name: parts[0] if len(parts) == 1 else parts for name, parts in sorted(said.items()) if parts}
    return json.dumps(held, ensure_ascii=False)


def criteria_of(text: str) -> dict[str, Any]:
    """The values by name that `criteria_text` made a text of."""
    held = json.loads(text)
    return held if isinstance(held, dict) else {}


@dataclass(frozen=True)
class Condition:
    """One condition on a criterion: `clarity=Clear`, `relevance>=3`."""

    name: str
    order: Literal["=", "!=", ">=", "<=", ">", "<"]
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The condition that a text says.

        Raises:
            ValueError: it says none.
        """
        parsed = _CONDITION.fullmatch(text)
        if parsed is None:
            raise ValueError(
                f"{text.strip()!r} should be a condition such as clarity=Clear or relevance>=3 (=, !=, >=, <=, >, <)"
            )
        name, order, value = parsed.groups()
        if order in _ORDERS and _number(value) is None:
            raise ValueError(f"{text.strip()!r} should compare with a number, such as {name}{order}3")
        return cls(name, order, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.name}{self.order}{self.value}"

    def holds(self, criteria: Mapping[str, Any]) -> bool:
        """Whether it is so; of what nobody filled, only `!=` is."""
        held = criteria.get(self.name)
        values = held if isinstance(held, list) else [] if held is None else [held]
        if self.order in _ORDERS and (limit := _number(self.value)) is not None:
            numbers = [number for value in values if (number := _number(value)) is not None]
            return bool(numbers) and all(_ORDERS[self.order](number, limit) for number in numbers)
        return any(_is_same(value, self.value) for value in values) == (self.order == "=")


def conditions(text: str) -> tuple[Condition, ...]:
    """Those of a text, separated by semicolons.

    Raises:
        ValueError: one of them says none.
    """
    return tuple(Condition.parse(part) for part in text.split(";") if part.strip())


def applying(text: str, criteria: Collection[str]) -> tuple[Condition, ...]:
    """Those of a text that are on these criteria: a process may have projects with others."""
    return tuple(condition for condition in conditions(text) if condition.name in criteria)


def _parts(kind: str, value: Mapping[str, Any]) -> list[Any]:
    key = {"textarea": "text", "pairwise": "selected"}.get(kind, kind)
    held = value.get(key, None if kind in _KNOWN else value)
    parts = held if isinstance(held, list) else [] if held is None else [held]
    if kind == "textarea":
        return ["\n".join(part for part in parts if isinstance(part, str))] if parts else []
    # With allowNested, each is the list of choices on the way to it.
    return [part[-1] if kind == "choices" and isinstance(part, list) and part else part for part in parts]


def _is_same(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(text) == value
    return str(value) == text


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
