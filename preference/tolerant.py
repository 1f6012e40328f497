"""Types of fields that a damaged file does not spoil: each value is of its type and in its range, or its field holds its default.

For dataclasses and models whose values come from a file that anything may have written.
Covered: values of other types, numbers that are none, texts of any length, lists and objects of any number of entries.
Not covered: what JSON itself refuses, and fields of other types than these.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, ValidationInfo, WrapValidator

_MOST_ROWS, _MOST_LETTERS, _MOST_KEY_LETTERS = 400, 600, 60
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
_T = TypeVar("_T")
_Check = Callable[[Any], Any]


@dataclass
class ReadingLog:
    """What one reading could not read, as paths: "report.people.annotators[2].num_ties"."""

    unreadable: list[str] = field(default_factory=list)
    _path: list[str] = field(default_factory=list)

    def checked(self, value: Any, check: _Check, *, place: str) -> Any:
        """The value as it is read; `place`: where it stands in what is being read around it.

        Raises:
            ValidationError: it cannot be read; its path is named.
        """
        self._path.append(place)
        try:
            return check(value)
        except ValidationError:
            self.unreadable.append("".join(self._path).removeprefix("."))
            raise
        finally:
            self._path.pop()


def read_as(kind: type[_T], values: dict[str, Any], *, log: ReadingLog | None = None) -> _T:
    """A dataclass of these values; `log` learns which of them could not be read."""
    read: _T = adapter_of(kind).validate_python(values, context=log)
    return read


def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """What reads a dataclass from values and turns it into values again; made once, since that takes milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def otherwise(default: Callable[[], Any]) -> WrapValidator:
    """Keeps a field from spoiling what holds it: if its value cannot be read, or is null, it holds a new default."""

    def read(value: Any, check: _Check, info: ValidationInfo) -> Any:
        if value is None:
            return default()
        try:
            return _log(info).checked(value, check, place=f".{info.field_name}")
        except ValidationError:
            return default()

    return WrapValidator(read)


def _rows(value: Any, check: _Check, info: ValidationInfo) -> tuple[Any, ...]:
    """The entries of a list that can be read."""
    if not isinstance(value, list | tuple):
        return tuple(check(value))  # which refuses it
    rows: list[Any] = []
    for number, row in enumerate(value[:_MOST_ROWS]):
        try:
            rows += _log(info).checked([row], check, place=f"[{number}]")
        except ValidationError:
            continue
    return tuple(rows)


def _items(value: Any, check: _Check, info: ValidationInfo) -> dict[str, Any]:
    """The entries of an object that can be read."""
    if not isinstance(value, dict):
        return dict(check(value))  # which refuses it
    items: dict[str, Any] = {}
    for key, inner in islice(value.items(), _MOST_ROWS):
        try:
            items |= _log(info).checked({key: inner}, check, place=f".{key[:_MOST_KEY_LETTERS]}")
        except ValidationError:
            continue
    return items


def _log(info: ValidationInfo) -> ReadingLog:
    return info.context if isinstance(info.context, ReadingLog) else ReadingLog()


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    return min(ends), max(ends)


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("no address that a browser opens without running code")
    return text


Text = Annotated[str, Field(strict=True), AfterValidator(_cut)]
Flag = Annotated[bool, Field(strict=True)]  # else "yes" would be one
WebAddress = Annotated[Text, AfterValidator(_web_address)]
Number = Annotated[float, Field(strict=True, ge=-1e15, le=1e15)]  # NaN is in no range
Part = Annotated[float, Field(strict=True, ge=0, le=1)]  # of a whole
Difference = Annotated[float, Field(strict=True, ge=-1, le=1)]  # of two parts
Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
Range = Annotated[tuple[Number, Number], AfterValidator(_rising)]
Interval = Annotated[tuple[Part, Part], AfterValidator(_rising)]
DifferenceInterval = Annotated[tuple[Difference, Difference], AfterValidator(_rising)]

Known = Annotated[_T | None, otherwise(lambda: None)]  # the value, or None
Words = Annotated[Text, otherwise(str)]  # the text, or an empty one
Rows = Annotated[tuple[_T, ...], WrapValidator(_rows), otherwise(tuple)]  # the entries of a list that can be read
Items = Annotated[dict[str, _T], WrapValidator(_items), otherwise(dict)]  # the entries of an object that can be read
