"""Judgements as a file for other trainers, in the shapes of TRL's documentation ("Dataset formats and types").

Covered: what TRL's RewardTrainer and DPOTrainer (`trl`), KTOTrainer (`kto`), SFTTrainer (`sft`, `hindsight`), GRPOTrainer and RLOOTrainer
(`prompts`) take as it is, through `datasets.load_dataset`; all ignore further columns.
Not covered: texts such as "None" and "NA" in CSV, which pandas reads as missing without `keep_default_na=False`; train from
JSON lines or Parquet. TRL reads no `weight`.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference.errors import ExportError
from preference.labelling.controls.criteria import Condition
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt, normalised
from preference.labelling.task_pairs import Fields, pairs_of_task
from preference.projects.guidelines import Guidelines
from trainer.exporting.export_rows import TIES, Format, Row, agreed, one_each, prompt_cell, rows_of
from trainer.exporting.row_files import write_rows


@dataclass(frozen=True)
class Exported:
    """How many rows an export wrote, by their `split`, and how many judgements it excluded, by reason."""

    num_train: int
    num_holdout: int
    num_unused: int
    excluded: Counter[str]


def export_judgements(
    tasks: Iterable[Fields],
    path: Path,
    *,
    format_name: Format,
    layout: LabelingLayout,
    conversational: bool = False,
    **asked: Any,
) -> Exported:
    """Writes the rows of `judgement_rows`, and replaces `path` only when the new file is whole.

    Raises:
        ExportError: the path does not fit the format or cannot be written, or there is nothing to write.
    """
    check_path(path, format_name=format_name, conversational=conversational)
    rows, excluded = judgement_rows(tasks, format_name=format_name, layout=layout, conversational=conversational, **asked)
    write_rows(rows, path)
    return counted(rows, excluded)


def judgement_rows(
    tasks: Iterable[Fields],
    *,
    format_name: Format,
    layout: LabelingLayout,
    holdout: Holdout,
    guidelines: Guidelines | None = None,
    conversational: bool = False,
    prefer_ground_truth: bool = False,
    where: Sequence[Condition] = (),
    chosen: bool = False,
    aggregate: bool = False,
    min_agreement: float = 0.0,
) -> tuple[list[Row], Counter[str]]:
    """(the rows of a format (export_rows.py), how many judgements give none, by reason).

    `trl` excludes ties; `csv` has everything, ties as two rows of weight .5. `chosen`: `sft` has the answers that people chose, too.
    `aggregate`: one vote for each comparison, as most went. `min_agreement`, 0..1: only comparisons of which this share of the votes went
    one way. `margin` is 0..1. Nothing is null: ids that are not known are 0, texts "". `split` is that of `holdout`: "train",
    "holdout", or "unused" if a round would neither train on the row nor judge by it. `criteria` is a JSON object. `guidelines` is
    the version of them that stood when the judgement was made.

    Raises:
        ExportError: there are none.
    """
    check_where(where, layout.criteria)
    excluded: Counter[str] = Counter()
    pairs = [
        pair
        for task in tasks
        for pair in pairs_of_task(
            task, layout, dropped=excluded, ties=TIES[format_name], prefer_ground_truth=prefer_ground_truth, where=where
        )
    ]
    pairs = (guidelines or Guidelines()).of(pairs)
    if min_agreement:
        pairs = agreed(pairs, least=min_agreement, excluded=excluded)
    if aggregate:
        pairs = one_each(pairs, excluded=excluded)
    train, held_out = holdout.split(pairs)
    splits = {**{pair.question: "train" for pair in train}, **{pair.question: "holdout" for pair in held_out}}
    rows = rows_of(
        pairs, format_name, split_of=lambda pair: splits.get(pair.question, "unused"), excluded=excluded,
        conversational=conversational, chosen=chosen,
    )  # fmt: skip
    if not rows:
        raise ExportError(_nothing(format_name, excluded))
    return rows, excluded


def export_prompts(
    tasks: Iterable[Fields], path: Path, *, layout: LabelingLayout | DemonstrationLayout, holdout: Holdout, conversational: bool = False
) -> Exported:  # fmt: skip
    """Writes each prompt once, twins as one, judged or not: what TRL's GRPOTrainer and RLOOTrainer take.

    Raises:
        ExportError: the path cannot be written, or there is no prompt.
    """
    check_path(path, format_name="prompts", conversational=conversational)
    excluded: Counter[str] = Counter()
    rows: dict[str, Row] = {}
    for task in tasks:
        prompt = layout.prompt(task["data"])
        if not prompt:
            excluded["missing prompt"] += 1
        elif (twin := normalised(prompt)) in rows:
            excluded["the same as another"] += 1
        else:
            rows[twin] = {
                "prompt": prompt_cell(prompt, conversational=conversational), "task_id": task.get("id") or 0,
                "split": split_of(prompt, holdout),
            }  # fmt: skip
    if not rows:
        raise ExportError("There is no prompt to export; import some prompts first.")
    write_rows(list(rows.values()), path)
    return counted(rows.values(), excluded)


def split_of(prompt: Prompt, holdout: Holdout) -> str:
    """The `split` of a prompt whose twins nobody need have judged."""
    return "train" if not holdout.has(prompt) else "holdout" if holdout.judges_by(prompt) else "unused"


def counted(rows: Iterable[dict[str, Any]], excluded: Counter[str]) -> Exported:
    """How many of these rows are of which split."""
    counts = Counter(row["split"] for row in rows)
    return Exported(counts["train"], counts["holdout"], counts["unused"], excluded)


def check_path(path: Path, *, format_name: Format, conversational: bool) -> None:
    """Raises ExportError if `path` cannot take that format, before anything is read."""
    if format_name == "csv" and conversational:
        raise ExportError("CSV holds no lists of messages; omit --conversational, or export --format trl to a .jsonl file.")
    suffixes = (".csv",) if format_name == "csv" else (".jsonl", ".parquet")
    if path.suffix not in suffixes:
        raise ExportError(f"{path} should end with {' or '.join(suffixes)} for --format {format_name}.")
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ExportError(f"{path} cannot be written; name a file in a folder that exists and that you may write to.")


def check_where(where: Sequence[Condition], criteria: Collection[str]) -> None:
    """Raises ExportError if a condition is on something that the label config has no control for."""
    for condition in where:
        if condition.name not in criteria:
            names = ", ".join(sorted(criteria)) or "none"
            raise ExportError(
                f"--where {condition}: the label config has no such control beside the comparison; it has: {names}."
            )


def _nothing(format_name: Format, excluded: Counter[str]) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in excluded.most_common()) or "no judgements"
    if format_name == "sft":
        return (
            f"There are no demonstrations to export ({counts}): they are the better answers that annotators write; "
            'give the label config a <TextArea name="better_answer"> as in label_config.xml, or export --format trl.'
        )
    return f"There is nothing to export ({counts}); judge some tasks first."
