"""Filters of a project's tasks, as Label Studio's data manager takes them. Measured on label-studio 1.23.2."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import keys_of

Line = tuple[str, str, str, Any]  # column, operator, type, value
OPEN: tuple[Line, ...] = (("total_annotations", "equal", "Number", 0), ("cancelled_annotations", "equal", "Number", 0))
ANNOTATED: tuple[Line, ...] = (("total_annotations", "greater", "Number", 0), ("cancelled_annotations", "greater", "Number", 0))

# What <Text> shows as an empty box. `equal` is of no use: Label Studio looks what the first task holds, and if that is a list, or on
# SQLite a text such as "[1, 2]", it answers 400 to it. `empty` of a String then misses what is missing, and in any case can miss "".
# Not found as long as that is so: null, which SQLite does not tell from the text "null". An import of ours stores "" for it.
_EMPTY = (("empty", "String", "true"), ("empty", "List", "true"), ("regex", "String", r"^\s*(\[\s*\])?\s*$"))


def moment_text(moment: datetime) -> str:
    """A moment as Label Studio's filters want it; without a fraction of a second they fail."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def filter_query(lines: Sequence[Line], conjunction: str, *, ordering: str, above: int | None = None) -> str:
    """The `query` of a task list. `conjunction` ("and" or "or") joins the lines; `above`: only tasks after that id."""
    items: list[dict[str, Any]] = [
        {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}
        for column, operator, kind, value in lines
    ]
    if above is not None:  # to each line, as they may be joined by "or"
        child = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": above}
        items = [{**item, "child_filter": child} for item in items]
    return json.dumps({"filters": {"conjunction": conjunction, "items": items}, "ordering": [f"tasks:{ordering}"]})


def unanswered(layout: LabelingLayout) -> list[Line]:
    """Those of tasks that lack an answer, to be joined by "or"."""
    return [(column, *empty) for column in _answer_columns(layout) for empty in _EMPTY]


def answered(layout: LabelingLayout) -> list[Line]:
    """Those of tasks whose answers all hold something, to be joined by "and". An empty list passes, too: its JSON is a text."""
    return [(column, "regex", "String", r"\S") for column in _answer_columns(layout)]


def _answer_columns(layout: LabelingLayout) -> list[str]:
    return [f"data.{'__'.join(keys_of(field))}" for field in layout.answer_fields]  # as Django goes down into JSON
