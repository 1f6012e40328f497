"""What judged tasks hold in the fields that SLICE_BY names. It loads no torch, as the reading of judgements does not."""

from collections.abc import Iterable, Mapping, Sequence

from preference.labelling.task_data import shown_text, value_at
from trainer.judgements.cache_file import JudgedTask

_MOST_LETTERS = 60  # of a value
FieldValues = Mapping[str, Mapping[int, str]]  # by field, then by task id; without tasks that have none


def field_values(tasks: Iterable[JudgedTask], fields: Sequence[str]) -> FieldValues:
    """What these tasks hold in these fields of their data, as Label Studio would show it, in one line."""
    values: dict[str, dict[int, str]] = {field: {} for field in fields}
    for task in tasks if fields else ():
        for field in fields:
            text = " ".join((shown_text(value_at(task["data"], field)) or "").split())
            if text:
                values[field][task["id"]] = text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
    return values
