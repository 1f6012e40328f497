"""What Label Studio exports, as tasks that it imports again: JSON as a whole, and its rows of JSON-MIN and CSV.

Label Studio's import takes of a task its data, meta, annotations and predictions; of an annotation its result, whose it is, whether it
is a skip or a ground truth, and the time that it took. Measured on label-studio 1.23.2.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from backend.prompt_files.comparisons import number
from backend.prompt_files.judgements import annotation, region
from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout
from preference.studio.task import Annotation, StoredPrediction, Task

_OF_ROW = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")  # of JSON-MIN and CSV
_OF_TASK = {  # what a task of an export has beside what is taken, and what Label Studio makes anew
    "id", "inner_id", "project", "created_at", "updated_at", "updated_by", "file_upload", "total_annotations", "cancelled_annotations",
    "total_predictions", "comment_count", "unresolved_comment_count", "comment_authors", "last_comment_updated_at", "state",
    "is_labeled", "overlap", "agreement", "allow_skip", "storage_filename", "annotators", "completed_at", "avg_lead_time",
    "data", "meta", "annotations", "predictions", "drafts", "annotations_results", "predictions_results", "predictions_score", "annotations_ids", "predictions_model_versions", "draft_exists",
}  # fmt: skip


def is_export(row: Any, layout: LabelingLayout) -> bool:
    """Whether it is a task with `data` of its own; a row that has a prompt beside a `data` without one is none."""
    if not isinstance(row, dict) or not isinstance(row.get("data"), dict):
        return False
    return layout.prompt(row["data"]) is not None or layout.prompt(row) is None


def is_flat_export(row: Any) -> bool:
    """Whether it is a row of JSON-MIN or CSV: a task's data with one annotation."""
    return isinstance(row, dict) and row.keys() >= set(_OF_ROW)


def exported_task(row: Mapping[str, Any], remarks: Counter[str]) -> Task:
    """The task; `remarks` counts what Label Studio's import does not take of it, or the file does not hold.

    Raises:
        PromptFileError: an annotation has no result, or `annotations` is no list.
    """
    task: Task = {"data": row["data"]}
    meta = row.get("meta")
    if meta and isinstance(meta, dict | list):  # Label Studio takes either
        task["meta"] = meta
    if annotations := [_annotation(made) for made in _list(row, "annotations")]:
        task["annotations"] = annotations
    predictions = _list(row, "predictions")
    if kept := [_prediction(made) for made in predictions if isinstance(made, dict) and isinstance(made.get("result"), list)]:
        task["predictions"] = kept
    for reason, count in {
        "a prediction of which the file has only the number": len(predictions) - len(kept),
        "a draft that nobody submitted": len(_list(row, "drafts")),
        "a meta that is neither an object nor a list": bool(meta) and "meta" not in task,
        **{f'"{name}" beside "data"': bool(row[name]) for name in sorted(row.keys() - _OF_TASK)},
    }.items():
        if count:
            remarks[f"left behind, {reason}"] += count
    return task


def joined_task(rows: Sequence[Mapping[str, Any]], layout: LabelingLayout) -> Task:
    """The task of its rows in JSON-MIN or CSV, each of which is one annotation.

    Raises:
        PromptFileError: a judgement is of a control that the label config does not have.
    """
    data = {name: value for name, value in rows[0].items() if name not in (*_OF_ROW, "id", "agreement", *layout.controls)}
    for name, value in data.items():
        if any(isinstance(part, dict) and part.keys() & {"selected", "rating", "ranker"} for part in _parts(value)):
            raise PromptFileError(
                f'its judgement is of a control "{name}", which the label config lacks; name the control so there, '
                'or export as "JSON".'
            )
    task: Task = {"data": data}
    if judged := [_flat_annotation(row, layout) for row in rows if row["annotation_id"] not in (None, "")]:
        task["annotations"] = judged
    return task


def _annotation(made: Any) -> Annotation:
    if not isinstance(made, dict) or not isinstance(made.get("result"), list):
        raise PromptFileError('an annotation has no list as its "result".')
    is_skip, is_truth = bool(made.get("was_cancelled")), bool(made.get("ground_truth"))
    return _of(made.get("completed_by"), made.get("lead_time"), made["result"], was_cancelled=is_skip, ground_truth=is_truth)


def _flat_annotation(row: Mapping[str, Any], layout: LabelingLayout) -> Annotation:
    result = []
    for name, (kind, _) in layout.controls.items():
        for part in _parts(row.get(name)):
            if isinstance(part, dict):
                result.append(region(layout, name, part))
            elif isinstance(part, str) and part and kind in ("choices", "textarea"):
                result.append(region(layout, name, {"choices" if kind == "choices" else "text": [part]}))
    return _of(row["annotator"], row["lead_time"], result)


def _of(who: Any, seconds: Any, result: list[dict[str, Any]], **fields: bool) -> Annotation:
    """`who`: Label Studio's number of the annotator, the email address, or an object with it."""
    made = annotation(result, **fields)
    if (lead_time := number(seconds)) is not None:
        made["lead_time"] = lead_time
    if who not in (None, "", {}):
        made["completed_by"] = who
    return made


def _prediction(made: Mapping[str, Any]) -> StoredPrediction:
    score = made.get("score")
    kept = {"result": made["result"], "model_version": str(made.get("model_version") or "undefined")}
    return {**kept, "score": score} if isinstance(score, int | float) else kept


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    held = row.get(name)
    if held is not None and not isinstance(held, list):
        raise PromptFileError(f'"{name}" is no list.')
    return held or []


def _parts(value: Any) -> list[Any]:
    """The regions of one control in a row: JSON-MIN has a text for a single choice, and CSV has JSON for all else."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    return value if isinstance(value, list) else [] if value is None else [value]
