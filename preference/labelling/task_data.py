"""Where a field lies in a task's data, and what Label Studio's <Text> shows of what lies there.

Read off the sources of label-studio 1.23.2. Its editor takes `$name`, and `$a.b[0]` as a path into nested data, of ASCII letters,
digits and _ alone (utils/data.js, parseValue); of `$answer-a` it shows "undefined-a". If the data has a key that is the whole path,
that one counts (es-toolkit's `get`). <Text> shows JavaScript's String(value).

Not covered: characters of a text by their number (`$text[0]`), which that editor shows.
"""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_PATH = re.compile(r"\w+(\.\w+|\[\d{1,2}\])*", re.ASCII)
_KEY = re.compile(r"(\[?)(\w+)", re.ASCII)
_MOST_DEPTH = 20  # of lists in lists
_HALF = re.compile("[\ud800-\udfff]")
_DIGITS = 21  # from there on, JavaScript writes an exponent


def is_path(field: str) -> bool:
    """Whether Label Studio's editor shows what lies in this field."""
    return _PATH.fullmatch(field) is not None


def named_fields(text: str) -> tuple[str, ...]:
    """The fields that a text names, separated by commas, each once.

    Raises:
        ValueError: one of them is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if not is_path(name):
            raise ValueError(f"{name!r} should be a field of tasks' data, such as topic or source.kind (letters, digits and _)")
    return names


def keys_of(path: str) -> list[str]:
    """The keys on the way to a field, the outermost first."""
    return [key for _, key in _KEY.findall(path)]


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """What lies in a field; None if there is none."""
    if path in data:
        return data[path]
    value: Any = data
    for key in keys_of(path):
        if isinstance(value, list) and _is_place(key):
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value


def with_value(data: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The data with that value in that field, and all else as it is.

    Raises:
        ValueError: a text or a number lies where the way goes on.
    """
    if path in data:
        return {**data, path: value}
    (_, first), *others = _KEY.findall(path)
    return {**data, first: _with_value(data.get(first), others, value)}


def shown_text(value: Any) -> str | None:
    """What <Text> shows of a value; None if that is no text of anybody's, such as "[object Object]"."""
    return _shown(value, depth=0)


def readable(text: str | None) -> str | None:
    """A text that every tokenizer takes, or None if it is missing or blank."""
    if not text or text.isspace():
        return None
    # JSON may hold half of an emoji (a text cut by JavaScript), which neither UTF-8 nor a tokenizer takes.
    has_halves = not text.isascii() and _HALF.search(text)  # else it is copied for nothing, and may have millions of letters
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if has_halves else text


def _with_value(held: Any, keys: Sequence[tuple[str, str]], value: Any) -> Any:
    if not keys:
        return value
    (bracket, key), *others = keys
    if held is None:
        held = [] if bracket else {}
    if isinstance(held, dict):
        return {**held, key: _with_value(held.get(key), others, value)}
    if isinstance(held, list) and _is_place(key):
        longer = [*held, *[None] * (int(key) + 1 - len(held))]
        longer[int(key)] = _with_value(longer[int(key)], others, value)
        return longer
    raise ValueError(f"there is no place for {key}")


def _is_place(key: str) -> bool:
    """Whether a key is a number that may stand in brackets."""
    return key.isdecimal() and len(key) <= 2


def _shown(value: Any, *, depth: int) -> str | None:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)  # measured: also one that is no double
        case float():
            return _number(value)
        case list() if depth < _MOST_DEPTH:
            parts = [_shown(each, depth=depth + 1) for each in value]
            return None if None in parts else ",".join(part or "" for part in parts)
    return None


def _number(number: float) -> str:
    """A number as JavaScript writes it (ECMA-262, Number::toString)."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else f"{'-' if number < 0 else ''}Infinity"
    is_negative, places, exponent = Decimal(repr(number)).normalize().as_tuple()
    digits, sign = "".join(map(str, places)), "-" if is_negative and number else ""
    point = len(digits) + int(exponent)  # digits before it
    if not number:
        return "0"
    if len(digits) <= point <= _DIGITS:
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    if 0 < point <= _DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"
