"""What Label Studio lists of a project, as its JSON has it; how much of each depends on what was asked for."""

from typing import Any

Task = dict[str, Any]  # id, data, meta, total_annotations, cancelled_annotations, annotations, predictions, updated_at, ...
Annotation = dict[
    str, Any
]  # id, result, was_cancelled, ground_truth, completed_by, created_at, lead_time, parent_prediction, ...
StoredPrediction = dict[str, Any]  # id, task, result, score, model_version, created_at, ...
ProjectFields = dict[str, Any]  # label_config, model_version, sampling, total_annotations_number, ...


def is_annotated(task: Task) -> bool:
    """Whether anyone judged or skipped this task."""
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))
