"""What Label Studio lists of a project, as its JSON has it; how much of each depends on what was asked for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

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
    meta: dict[str, Any]  # or null
    updated_at: datetime
    total_annotations: int  # without skips
    cancelled_annotations: int
    annotations: list[Annotation]
    predictions: list[StoredPrediction]
    predictions_model_versions: str | None  # with commas between
    predictions_score: float | None
    drafts: list[dict[str, Any]]
    key: str  # in place of the id, of a task that is not in Label Studio yet: its prompt


def is_annotated(task: Mapping[str, Any]) -> bool:
    """Whether anyone judged or skipped this task."""
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))
