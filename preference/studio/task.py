"""What Label Studio lists of a project, as its JSON has it; how much of each depends on what was asked for."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TypedDict, cast

StoredPrediction = dict[str, Any]  # id, task, result, score, model_version, created_at, ...
ProjectFields = dict[str, Any]  # label_config, model_version, sampling, total_annotations_number, ...


class Annotation(TypedDict, total=False):
    """A judgement, or a skip."""

    id: int
    result: list[dict[str, Any]]
    was_cancelled: bool  # whether it is a skip
    ground_truth: bool
    completed_by: int | dict[str, Any] | None  # the annotator's id, which some answers wrap in the whole user
    created_at: str
    updated_at: str
    lead_time: float | None  # seconds
    parent_prediction: int | None  # the id of the prediction that it was made from


class Task(TypedDict, total=False):
    """A task as it is listed, or as it is imported."""

    id: int
    data: dict[str, Any]
    meta: Any  # an object, null, or what else somebody put there; entry_of and with_entry read and write it
    updated_at: datetime
    total_annotations: int  # without skips
    cancelled_annotations: int
    annotations: list[Annotation]
    predictions: list[StoredPrediction]
    predictions_model_versions: str | None  # with commas between
    predictions_score: float | None
    drafts: list[dict[str, Any]]
    key: str  # in place of the id, of a task that is not in Label Studio yet: its prompt


META_KEY = "pairloop"  # under which a task's meta holds how its answers came about
_MOST = 2**63  # of a database's numbers
_KINDS: dict[str, tuple[type, ...]] = {  # of an annotation's and a prediction's fields, beside results of any JSON
    "was_cancelled": (bool,), "ground_truth": (bool,), "completed_by": (int, dict), "created_at": (str,), "updated_at": (str,),
    "lead_time": (int, float), "parent_prediction": (int,), "model_version": (str,), "score": (int, float),
}  # fmt: skip


def as_task(listed: Mapping[str, Any]) -> Task:
    """A task as it was listed. What is of another type than Label Studio's own counts as absent, as no task may stop the others."""
    task = dict(listed)
    if not isinstance(task.get("data", {}), dict):
        task["data"] = {}
    for name in ("annotations", "predictions"):
        if name in task:
            held = task[name] if isinstance(task[name], list) else []
            task[name] = [_typed(each) for each in held if isinstance(each, dict) and isinstance(each.get("id"), int)]
    if changed := task.get("updated_at"):
        task["updated_at"] = datetime.fromisoformat(changed)
    return cast(Task, task)


def entry_of(task: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What a task's meta holds under this key, if that is an object; else an empty one."""
    meta = task.get("meta")
    entry = meta.get(key) if isinstance(meta, dict) else None
    return entry if isinstance(entry, dict) else {}


def with_entry(task: Mapping[str, Any], key: str, entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A task's meta with this under the key, or with nothing there; None if the meta is no object, which then stays as it is."""
    meta = task.get("meta") or {}
    if not isinstance(meta, dict):
        return None
    others = {name: value for name, value in meta.items() if name != key}
    return others if entry is None else {**others, key: dict(entry)}


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value if _is_of_its_kind(key, value) else None for key, value in fields.items()}


def _is_of_its_kind(key: str, value: Any) -> bool:
    if not isinstance(value, _KINDS.get(key, object)):
        return False
    if isinstance(value, str) and key in ("created_at", "updated_at"):
        with suppress(ValueError):
            return bool(datetime.fromisoformat(value))
        return False
    return not isinstance(value, int) or abs(value) < _MOST


def is_annotated(task: Mapping[str, Any]) -> bool:
    """Whether anyone judged or skipped this task."""
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))
