"""The pairs that a list of votes makes."""

from typing import Any

from preference.labelling.pairs import PreferencePair
from trainer.people.judgements import Outcome


def judged(*votes: tuple[int, int, Outcome], **fields: Any) -> list[PreferencePair]:
    """The pairs of (task, annotator, outcome), as pairs_of_task makes them: a tie is two half pairs of one annotation."""
    pairs = []
    for number, (task, annotator, outcome) in enumerate(votes):
        known: dict[str, Any] = {"task_id": task, "annotation_id": number, "annotator_id": annotator, **fields}
        left = PreferencePair(f"prompt {task}", "left answer", "right answer", chosen_side="left", **known)
        right = PreferencePair(f"prompt {task}", "right answer", "left answer", chosen_side="right", **known)
        if outcome == "tie":
            halves: dict[str, Any] = {"kind": "tie", "weight": 0.5}
            pairs += [PreferencePair(**{**vars(pair), **halves}) for pair in (left, right)]
        else:
            pairs.append(left if outcome == "left" else right)
    return pairs
