"""Judgements as training pairs: every vote is a pair, and whatever is left out is counted by reason."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference.controls import Pairwise
from preference.layout import LabelingLayout


@dataclass(frozen=True)
class PreferencePair:
    """One vote: `chosen` was judged better than `rejected` as an answer to `prompt`."""

    prompt: str
    chosen: str
    rejected: str
    task_id: int | None = None
    annotation_id: int | None = None
    annotator_id: int | None = None
    suggested_version: str | None = None  # the version whose suggestion the annotator saw


def pairs_of_task(task: dict[str, Any], layout: LabelingLayout, *, dropped: Counter[str]) -> list[PreferencePair]:
    """One pair for each vote of a task as Label Studio lists it with `fields=all`; contradicting votes stay apart.

    Two contradicting pairs are the maximum-likelihood form of a soft label (Bradley-Terry). `dropped` counts
    annotations that give none: `skipped`, `empty`, `missing prompt`, `missing answer`, `identical answers`.
    """
    prompt, (left, right) = layout.prompt(task["data"]), layout.answers(task["data"])
    versions = {p["id"]: p.get("model_version") for p in task.get("predictions") or []}
    pairs = []
    for annotation in task.get("annotations") or []:
        side = Pairwise.choice(layout, annotation.get("result") or [])
        if annotation.get("was_cancelled"):
            dropped["skipped"] += 1
        elif side is None:
            dropped["empty"] += 1
        elif prompt is None:
            dropped["missing prompt"] += 1
        elif left is None or right is None:
            dropped["missing answer"] += 1
        elif left.strip() == right.strip():
            dropped["identical answers"] += 1
        else:
            chosen, rejected = (left, right) if side == "left" else (right, left)
            pairs.append(
                PreferencePair(
                    prompt=prompt,
                    chosen=chosen,
                    rejected=rejected,
                    task_id=task.get("id"),
                    annotation_id=annotation.get("id"),
                    annotator_id=annotation.get("completed_by"),
                    suggested_version=versions.get(annotation.get("parent_prediction")),
                )
            )
    return pairs


def split_holdout(pairs: Sequence[PreferencePair], fraction: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """(train, holdout): a prompt's hash alone decides, so a held-out prompt stays held out in every later round."""
    train: list[PreferencePair] = []
    holdout: list[PreferencePair] = []
    for pair in pairs:
        (holdout if is_held_out(pair.prompt, fraction) else train).append(pair)
    return train, holdout


def is_held_out(prompt: str, fraction: float) -> bool:
    """Whether no version may train on this prompt; white space and case do not make a new prompt."""
    digest = hashlib.sha256(" ".join(prompt.lower().split()).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < fraction


def write_pairs(pairs: Iterable[PreferencePair], path: Path) -> None:
    """Writes one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(dataclasses.asdict(pair), ensure_ascii=False) + "\n")


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a JSON-lines file; keys other than PreferencePair's are ignored."""
    names = {field.name for field in dataclasses.fields(PreferencePair)}
    with path.open(encoding="utf-8") as file:
        return [PreferencePair(**{k: v for k, v in json.loads(line).items() if k in names}) for line in file if line.strip()]
