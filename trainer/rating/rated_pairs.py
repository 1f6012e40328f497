"""What a rater says of the comparisons that are trained on, as pairs of little weight: only if JUDGE_WEIGHT says so.

They are no judgements of people: no count, no figure and no temperature knows them, and no held-out comparison is decided by them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference.labelling.pairs import PreferencePair, comparison_of
from preference.report_card.raters import rater_path, read_raters
from trainer.rating.opinions import opinion_of
from trainer.rating.replies import Replies


@dataclass(frozen=True)
class TrainingRater:
    """The rater whose opinions a round trains on."""

    name: str
    replies: Path
    weight: float  # of one opinion, beside 1 for a person's vote

    @property
    def key(self) -> dict[str, Any]:
        """The same only for the same opinions."""
        digest = hashlib.sha256(self.replies.read_bytes()).hexdigest() if self.replies.is_file() else ""
        return {"rater": self.name, "weight": self.weight, "replies": digest}


def training_rater(folder: Path, weight: float) -> TrainingRater | None:
    """The rater that was asked last in a project's folder; None if JUDGE_WEIGHT=0, or nobody was asked."""
    latest = next(iter(read_raters(folder)), None) if weight else None
    if latest is None:
        return None
    return TrainingRater(latest.rater, rater_path(folder, latest.rater, ".replies.jsonl"), weight)


def compared(pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
    """One pair for each comparison that people judged, whatever they said of it; in order."""
    return list({comparison_of(pair): pair for pair in pairs if pair.is_judged}.values())


def rated_pairs(pairs: Sequence[PreferencePair], rater: TrainingRater) -> list[PreferencePair]:
    """A pair for each comparison among these on which the rater takes a side; those of a ranking weigh one opinion together."""
    replies, rated = Replies(rater.replies), []
    for pair in compared(pairs):
        value = opinion_of(pair, replies).value
        if value in (0.0, 1.0):
            better, worse = (pair.chosen, pair.rejected) if value else (pair.rejected, pair.chosen)
            weight = rater.weight * (pair.weight if pair.kind == "ranking" else 1.0)
            rated.append(
                PreferencePair(pair.prompt, better, worse, "rated", weight, task_id=pair.task_id, compared=pair.compared)
            )
    return rated
