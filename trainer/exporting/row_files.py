"""Rows in a file: JSON lines, CSV or Parquet, by the file's ending."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from preference.atomic_files import replacing
from preference.errors import ExportError


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes rows that all have the same columns, whole or not at all.

    Raises:
        ExportError: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(_parquet(rows) if path.suffix == ".parquet" else _text(rows, path.suffix).encode())
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror or error}); free some space, or name another file."
        ) from error


def _text(rows: list[dict[str, Any]], suffix: str) -> str:
    if suffix == ".jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    text = io.StringIO()
    # All texts in quotes: before Python 3.13, one with a lone carriage return would get none.
    writer = csv.DictWriter(text, rows[0], lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parquet(rows: list[dict[str, Any]]) -> memoryview:
    """In memory first: pyarrow 26 aborts the process if a file cannot take what it writes at its end."""
    import pyarrow  # with numpy, which takes longer than all else that an export does
    from pyarrow import parquet

    whole = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), whole)
    return whole.getbuffer()
