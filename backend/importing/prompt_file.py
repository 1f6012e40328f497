"""Prompts in a file: JSON, JSON lines, CSV or plain text; the name's ending says which.

    .txt            a prompt a line
    .csv            with a header; the column of the prompt bears its name, and one without a name is not read
    .jsonl, .json   texts, objects that hold the prompt, or Label Studio's {"data": {...}}; in .json as one list

An object's other fields are kept, an answer that is there already among them.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout

_LARGEST_FIELD = 2**24  # characters of one CSV field; Python's own limit is 131072


class PromptFile:
    """A file of prompts for projects of one layout."""

    def __init__(self, path: Path, layout: LabelingLayout) -> None:
        self._path, self._layout = path, layout
        readers = {".txt": self._read_txt, ".csv": self._read_csv, ".jsonl": self._read_jsonl, ".json": self._read_json}
        if path.suffix.lower() not in readers:
            raise PromptFileError(f"{path} is none of {', '.join(readers)}; rename it, or convert it to one of them.")
        self._read = readers[path.suffix.lower()]

    def __len__(self) -> int:
        """How many prompts it holds.

        Raises:
            PromptFileError: it cannot be read, or a row is not what it should be; the message names the row.
        """
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each prompt's task data, one at a time (all at once for .json)."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                for place, row in self._read(file):
                    yield self._data(place, row)
        except UnicodeDecodeError as error:
            line = self._undecodable_line()
            raise PromptFileError(f"{self._path}, line {line}: not UTF-8 text; save the file as UTF-8.") from error
        except OSError as error:
            raise PromptFileError(f"{self._path} cannot be read ({error.strerror}).") from error

    def _data(self, place: int, row: Any) -> dict[str, Any]:
        field = self._layout.prompt_field
        data = row["data"] if isinstance(row, dict) and isinstance(row.get("data"), dict) else row
        data = self._layout.with_answers({}, {field: data}) if isinstance(data, str) else data
        if not isinstance(data, dict) or self._layout.prompt(data) is None:
            raise PromptFileError(
                f'{self._path}, {self._unit} {place}: no prompt; it should be a text, or an object whose "{field}" is a text.'
            )
        try:
            return self._layout.task_data(data)
        except ValueError:
            raise PromptFileError(
                f"{self._path}, {self._unit} {place}: an answer's field lies inside a text or a number; correct the row, "
                "or the fields in the label config."
            ) from None

    def _undecodable_line(self) -> int:
        """The first line that is not UTF-8; the decoder counts from the last piece that it was given."""
        with self._path.open("rb") as file:
            return next((place for place, line in enumerate(file, 1) if line.decode(errors="ignore").encode() != line), 1)

    @property
    def _unit(self) -> str:
        return "line" if self._path.suffix.lower() in (".txt", ".jsonl") else "row"

    def _read_txt(self, file: TextIO) -> Iterator[tuple[int, str]]:
        return ((place, line.strip()) for place, line in enumerate(file, 1) if line.strip())

    def _read_csv(self, file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
        csv.field_size_limit(_LARGEST_FIELD)
        rows, place = csv.DictReader(file, strict=True), 0  # strict: a quote that never ends takes no other rows
        try:
            if self._layout.prompt_field not in (rows.fieldnames or []):
                columns = ", ".join(rows.fieldnames or []) or "none"
                raise PromptFileError(f'{self._path} has no column "{self._layout.prompt_field}"; its columns: {columns}.')
            for place, row in enumerate(rows, 1):
                if any(row.pop(None, [])):
                    raise PromptFileError(
                        f"{self._path}, row {place}: more fields than the header has; put a text that holds a comma in quotes."
                    )
                yield place, {name: value for name, value in row.items() if name and value is not None}
        except csv.Error as error:
            raise PromptFileError(f"{self._path}, row {place + 1}: not CSV ({error}); correct it.") from error

    def _read_jsonl(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        for place, line in enumerate(file, 1):
            if line.strip():
                yield place, self._parse(line.strip(), place)

    def _read_json(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        rows = self._parse(file.read(), 1)
        if not isinstance(rows, list):
            raise PromptFileError(f'{self._path} should hold a list, such as [{{"{self._layout.prompt_field}": "..."}}].')
        yield from enumerate(rows, 1)

    def _parse(self, text: str, line: int) -> Any:
        """The JSON in a text that begins on that line."""
        try:
            # pandas writes NaN for what is missing; as in JavaScript, it becomes null.
            return _whole_letters(json.loads(text, parse_constant=lambda _: None))
        except (ValueError, RecursionError) as error:
            line += getattr(error, "lineno", 1) - 1
            raise PromptFileError(f"{self._path}, line {line}: not JSON ({getattr(error, 'msg', error)}); correct it.") from error


def _whole_letters(value: Any) -> Any:
    """The value with a replacement character for each half of an emoji: JavaScript cuts texts there, and UTF-8 has none."""
    text = json.dumps(value, ensure_ascii=False)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if whole == text else json.loads(whole)
