"""Answers that people wrote in a project that collects demonstrations, as a file for other trainers.

Covered: what TRL's SFTTrainer takes as it is (`sft`), and a CSV whose first two columns are named as Label Studio names them: the
prompt's field and the <TextArea>, `prompt,instruction` of its template.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from preference.errors import ExportError
from preference.labelling.controls.criteria import Condition, criteria_of
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.holdout import Holdout
from preference.labelling.prompts import Prompt
from preference.labelling.task_pairs import Fields, annotator_of
from preference.projects.guidelines import Guidelines
from trainer.exporting.export import Exported, check_path, check_where, counted
from trainer.exporting.export_rows import Format, answer_cell, prompt_cell
from trainer.exporting.row_files import write_rows


def export_demonstrations(
    tasks: Iterable[Fields],
    path: Path,
    *,
    format_name: Format,
    layout: DemonstrationLayout,
    holdout: Holdout,
    guidelines: Guidelines | None = None,
    conversational: bool = False,
    prefer_ground_truth: bool = False,
    where: Sequence[Condition] = (),
) -> Exported:
    """Writes a row for each written answer, and replaces `path` only when the new file is whole.

    `draft` says what became of the draft that the annotator saw: it was "kept" as it is, "edited", or there was "none".
    Twins, the same answer to the same prompt, are one row. All else is as in `export_judgements`.

    Raises:
        ExportError: the path or the format does not fit, the file cannot be written, or there is nothing to write.
    """
    if format_name not in ("sft", "csv"):
        raise ExportError(
            f"The project collects answers that people write, and no comparisons, so there are no pairs for --format {format_name}; "
            "export --format sft, or csv."
        )
    check_path(path, format_name=format_name, conversational=conversational)
    check_where(where, layout.criteria)
    names = (layout.prompt_field, layout.control) if format_name == "csv" else ("prompt", "completion")
    excluded: Counter[str] = Counter()
    rows: dict[tuple[Prompt, str], dict[str, Any]] = {}
    for task in tasks:
        prompt = layout.prompt(task["data"])
        for annotation in _standing(task, excluded, prefer_ground_truth=prefer_ground_truth):
            text, criteria = layout.written(annotation.get("result")), layout.said(annotation.get("result"))
            if prompt is None:
                excluded["missing prompt"] += 1
            elif text is None:
                excluded["empty"] += 1
            elif not all(condition.holds(criteria_of(criteria)) for condition in where):
                excluded["filtered out"] += 1
            elif (prompt, text) in rows:
                excluded["the same as another"] += 1
            else:
                origin = _origin(task, annotation, layout, text)
                rows[prompt, text] = {
                    names[0]: prompt_cell(prompt, conversational=conversational),
                    names[1]: answer_cell(text, conversational=conversational),
                    **origin,
                    "guidelines": (guidelines or Guidelines()).at(origin["judged_at"]) or "",
                    "criteria": criteria,
                    "split": "holdout" if holdout.has(prompt) else "train",
                }
    if not rows:
        counts = ", ".join(f"{count} {reason}" for reason, count in excluded.most_common()) or "no answers"
        raise ExportError(f"There is nothing to export ({counts}); write some answers first.")
    write_rows(list(rows.values()), path)
    return counted(rows.values(), excluded)


def _standing(task: Fields, excluded: Counter[str], *, prefer_ground_truth: bool) -> list[Fields]:
    """The annotations that count, oldest first."""
    annotations = sorted(task.get("annotations") or [], key=lambda annotation: annotation.get("id") or 0)
    standing = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    true = [annotation for annotation in standing if annotation.get("ground_truth")]
    kept = true if prefer_ground_truth and true else standing
    for reason, count in (("skipped", len(annotations) - len(standing)), ("not ground truth", len(standing) - len(kept))):
        if count:
            excluded[reason] += count
    return kept


def _origin(task: Fields, annotation: Fields, layout: DemonstrationLayout, text: str) -> dict[str, Any]:
    parent, made = annotation.get("parent_prediction"), annotation.get("created_at")
    seen = [prediction for prediction in task.get("predictions") or [] if parent is not None and prediction.get("id") == parent]
    draft = layout.written(seen[0].get("result")) if seen else None
    return {
        "task_id": task.get("id") or 0,
        "annotation_id": annotation.get("id") or 0,
        "annotator_id": annotator_of(annotation) or 0,
        "draft": "none" if draft is None else "kept" if draft.strip() == text.strip() else "edited",
        "judged_at": str(getattr(made, "isoformat", lambda: made)() or ""),
    }
