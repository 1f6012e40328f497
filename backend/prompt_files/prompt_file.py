"""A file of prompts, comparisons or exported tasks, read as tasks. The name's ending says how its rows are told apart.

    .txt            a prompt a line
    .csv, .tsv      with a header; separated by commas, semicolons or tabs; a column without a name is not read
    .jsonl, .json   texts or objects; one a line, or in .json as one list
    .parquet        as most public data comes
    .gz             after any of them: compressed

backend/prompt_files/rows.py reads what a row says.
"""

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from backend.prompt_files.rows import Rows
from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout
from preference.studio.task import Task

_LARGEST_FIELD = 2**24  # characters of one CSV field; Python's own limit is 131072


class PromptFile:
    """A file for projects of one layout. `remarks` counts what the last reading passed over or left behind, by reason."""

    def __init__(self, path: Path, layout: LabelingLayout, *, judged: bool = False) -> None:
        """`judged`: what the file says of two answers comes as a judgement of them."""
        self._path, self._rows = path, Rows(layout, judged=judged)
        readers = {".txt": self._read_txt, ".csv": self._read_csv, ".tsv": self._read_csv, ".jsonl": self._read_jsonl}
        readers |= {".json": self._read_json, ".parquet": self._read_parquet}
        self._is_compressed = path.suffix.lower() == ".gz"
        self._ending = (path.with_suffix("") if self._is_compressed else path).suffix.lower()
        if self._ending not in readers:
            raise PromptFileError(f"{path} is none of {', '.join(readers)}; rename it, or convert it to one of them.")
        self._read = readers[self._ending]
        self._unit = "line" if self._ending in (".txt", ".jsonl") else "row"

    @property
    def remarks(self) -> Counter[str]:
        """What the last reading passed over, or left behind, by reason."""
        return self._rows.remarks

    def __len__(self) -> int:
        """How many tasks it holds.

        Raises:
            PromptFileError: it cannot be read, or a row is not what it should be; the message names the row.
        """
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Task]:
        """Each task, one at a time, as Label Studio imports them (all at once for a list in .json)."""
        try:
            with self._open() as file:
                yield from self._rows.tasks(self._read(file), where=lambda place: f"{self._path}, {self._unit} {place}")
        except UnicodeDecodeError as error:
            line = self._undecodable_line()
            raise PromptFileError(f"{self._path}, line {line}: not UTF-8 text; save the file as UTF-8.") from error
        except (OSError, EOFError, zlib.error) as error:
            raise PromptFileError(f"{self._path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error

    def _open(self) -> TextIO:
        if self._is_compressed:
            return gzip.open(self._path, "rt", encoding="utf-8-sig", newline="")
        return self._path.open(encoding="utf-8-sig", newline="")

    def _open_bytes(self) -> IO[bytes] | gzip.GzipFile:
        return gzip.open(self._path, "rb") if self._is_compressed else self._path.open("rb")

    def _undecodable_line(self) -> int:
        """The first line that is not UTF-8; the decoder counts from the last piece that it was given."""
        with self._open_bytes() as file:
            return next((place for place, line in enumerate(file, 1) if line.decode(errors="ignore").encode() != line), 1)

    def _read_txt(self, file: TextIO) -> Iterator[tuple[int, str]]:
        return ((place, line.strip()) for place, line in enumerate(file, 1) if line.strip())

    def _read_csv(self, file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
        csv.field_size_limit(_LARGEST_FIELD)
        separator = self._separator(file.readline())
        file.seek(0)
        rows, place = (
            csv.DictReader(file, strict=True, delimiter=separator),
            0,
        )  # strict: a quote that never ends takes no other rows
        try:
            if not self._rows.has_columns(rows.fieldnames or []):
                columns = ", ".join(rows.fieldnames or []) or "none"
                lacking = next(name for name in self._rows.needed if name not in (rows.fieldnames or []))
                raise PromptFileError(f'{self._path} has no column "{lacking}"; its columns: {columns}.')
            for place, row in enumerate(rows, 1):
                if any(row.pop(None, [])):
                    raise PromptFileError(
                        f"{self._path}, row {place}: more fields than the header has; put a text that holds a comma in quotes."
                    )
                held = {name: value for name, value in row.items() if name and value is not None}
                if any(map(str.strip, held.values())):  # spreadsheets end with rows of nothing
                    yield place, held
        except csv.Error as error:
            raise PromptFileError(f"{self._path}, row {place + 1}: not CSV ({error}); correct it.") from error

    def _separator(self, header: str) -> str:
        """As Label Studio takes it: semicolons if the header has more of them than commas. But not one that hides the columns."""
        if self._ending == ".tsv":
            return "\t"
        likely = ";,\t" if header.count(";") > header.count(",") else ",;\t"
        fitting = (mark for mark in likely if self._rows.has_columns(next(csv.reader([header], delimiter=mark), [])))
        return next(fitting, likely[0])

    def _read_jsonl(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        for place, line in enumerate(file, 1):
            if line.strip():
                yield place, self._parse(line.strip(), place)

    def _read_json(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        """One list, or lines as in .jsonl, which pandas and datasets write under this name too."""
        self._unit = "line" if self._is_whole(next((line for line in file if line.strip()), "")) else "row"
        file.seek(0)
        if self._unit == "line":
            yield from self._read_jsonl(file)
            return
        rows = self._parse(file.read(), 1)
        if isinstance(rows, dict):
            rows = [rows]
        if not isinstance(rows, list):
            raise PromptFileError(f'{self._path} should hold a list, such as [{{"{self._rows.needed[0]}": "..."}}].')
        yield from enumerate(rows, 1)

    def _is_whole(self, line: str) -> bool:
        try:
            return line.lstrip()[:1] in ("{", '"') and bool(json.loads(line))
        except (ValueError, RecursionError):
            return False

    def _read_parquet(self, file: TextIO) -> Iterator[tuple[int, Any]]:
        import pyarrow  # for a second, with numpy
        from pyarrow import parquet

        place = 0
        try:
            with self._open_bytes() as content:
                for batch in parquet.ParquetFile(content).iter_batches(batch_size=100):
                    for row in batch.to_pylist():
                        place += 1
                        yield place, self._parse(json.dumps(row, default=str), place)
        except pyarrow.ArrowException as error:
            raise PromptFileError(f"{self._path} is no Parquet file ({error}).") from error

    def _parse(self, text: str, line: int) -> Any:
        """The JSON in a text that begins on that line."""
        try:
            # pandas writes NaN for what is missing; as in JavaScript, it becomes null.
            return json.loads(text, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            line += getattr(error, "lineno", 1) - 1
            raise PromptFileError(f"{self._path}, line {line}: not JSON ({getattr(error, 'msg', error)}); correct it.") from error
