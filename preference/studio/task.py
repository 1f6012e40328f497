"""A task, its annotations and its predictions, as Label Studio lists them."""

from typing import Any

Task = dict[str, Any]  # a task as Label Studio lists it: id, data, meta, total_annotations, annotations, ...


def is_annotated(task: Task) -> bool:
    """Whether anyone judged or skipped this task."""
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))
