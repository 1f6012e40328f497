"""Judgements as a file for other trainers, in the shapes of TRL's documentation ("Dataset formats and types").

Covered: what TRL's RewardTrainer, DPOTrainer (`trl`, `dpo`) and SFTTrainer (`sft`) take as it is, through
`datasets.load_dataset`; all three ignore further columns.
Not covered: texts such as "None" and "NA" in CSV, which pandas reads as missing without `keep_default_na=False`; train from
JSON lines or Parquet. TRL reads no `weight`.
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preference.atomic_files import replacing
from preference.errors import ExportError
from preference.labelling.controls.criteria import Condition
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, Turn, messages, transcript, turns_of
from preference.labelling.task_pairs import Fields, Ties, pairs_of_task
from preference.projects.guidelines import Guidelines

Format = Literal["trl", "dpo", "sft", "csv"]

# A tie is the same pair in both directions: without a weight, which TRL does not read, it teaches nothing and costs two rows.
_TIES: dict[Format, Ties] = {"trl": "drop", "dpo": "drop", "sft": "half", "csv": "half"}


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
    holdout: Holdout,
    guidelines: Guidelines | None = None,
    conversational: bool = False,
    prefer_ground_truth: bool = False,
    where: Sequence[Condition] = (),
) -> Exported:
    """Writes a row for each pair (`sft`: for each written answer), and replaces `path` only when the new file is whole.

    `trl` and `dpo` exclude ties; `csv` has everything, ties as two rows of weight .5. `margin` is 0..1. Nothing is null: ids
    that are not known are 0, texts "". `split` is that of `holdout`: "train", "holdout", or "unused" if the next round would neither
    train on the row nor judge by it. `criteria` is a JSON object. `guidelines` is the version of them that stood when the judgement was made.

    Raises:
        ExportError: the path does not fit the format or cannot be written, or there is nothing to write.
    """
    check_path(path, format_name=format_name, conversational=conversational)
    check_where(where, layout.criteria)
    excluded: Counter[str] = Counter()
    pairs = [
        pair
        for task in tasks
        for pair in pairs_of_task(
            task, layout, dropped=excluded, ties=_TIES[format_name], prefer_ground_truth=prefer_ground_truth, where=where
        )
    ]
    pairs = (guidelines or Guidelines()).of(pairs)
    train, held_out = holdout.split(pairs)
    splits = {**dict.fromkeys(train, "train"), **dict.fromkeys(held_out, "holdout")}
    if format_name == "sft":
        pairs = _demonstrations(pairs, excluded)
    if not pairs:
        raise ExportError(_nothing(format_name, excluded))
    texts = ("completion",) if format_name == "sft" else ("chosen", "rejected")
    rows = [_row(pair, texts, split=splits.get(pair, "unused"), conversational=conversational) for pair in pairs]
    write_rows(rows, path)
    return counted(rows, excluded)


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


def prompt_cell(prompt: Prompt, *, conversational: bool) -> Any:
    """A prompt as a row holds it: its messages, or one text."""
    return messages(turns_of(prompt)) if conversational else transcript(prompt)


def answer_cell(text: str, *, conversational: bool) -> Any:
    """An answer as a row holds it: a list of its one message, or the text."""
    return messages((Turn("assistant", text),)) if conversational else text


def _demonstrations(pairs: Iterable[PreferencePair], excluded: Counter[str]) -> list[PreferencePair]:
    """One pair for each written answer, whichever answers it beat."""
    written: dict[tuple[Prompt, str], PreferencePair] = {}
    for pair in pairs:
        if pair.kind == "written":
            written.setdefault((pair.prompt, pair.chosen), pair)
    judged = {(pair.task_id, pair.annotation_id) for pair in pairs} - {(p.task_id, p.annotation_id) for p in written.values()}
    if judged:
        excluded["without a written answer"] += len(judged)
    return list(written.values())


def _nothing(format_name: Format, excluded: Counter[str]) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in excluded.most_common()) or "no judgements"
    if format_name == "sft":
        return (
            f"There are no demonstrations to export ({counts}): they are the better answers that annotators write; "
            'give the label config a <TextArea name="better_answer"> as in label_config.xml, or export --format trl.'
        )
    return f"There is nothing to export ({counts}); judge some tasks first."


def _row(pair: PreferencePair, texts: tuple[str, ...], *, split: str, conversational: bool) -> dict[str, Any]:
    answers = (pair.chosen, pair.rejected)[: len(texts)]
    strength = {"margin": pair.margin, "weight": pair.weight, "kind": pair.kind} if len(texts) == 2 else {}
    return {
        "prompt": prompt_cell(pair.prompt, conversational=conversational),
        **{name: answer_cell(answer, conversational=conversational) for name, answer in zip(texts, answers, strict=True)},
        **strength,
        # If the first 10 MB of a JSON-lines file hold only null in a column, load_dataset (datasets 5.2) refuses what
        # follows, so nothing is null.
        "task_id": pair.task_id or 0,
        "annotation_id": pair.annotation_id or 0,
        "annotator_id": pair.annotator_id or 0,
        "criteria": pair.criteria,
        "suggested_version": pair.suggested_version or "",
        "judged_at": pair.judged_at or "",
        "guidelines": pair.guidelines or "",
        "split": split,
    }


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
