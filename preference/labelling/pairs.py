"""Judgements as training pairs: what each pair holds, what most votes say, and the file that keeps them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preference.labelling.controls.criteria import NONE
from preference.labelling.controls.verdict import Side
from preference.labelling.prompts import Prompt, Turn, normalised, transcript

Kind = Literal["vote", "ranking", "tie", "both_bad", "written", "rated"]  # "rated": by an LLM, and no person's
Comparison = tuple[str, frozenset[str]]


@dataclass(frozen=True)
class PreferencePair:
    """One judgement, or a part of one: `chosen` was judged better than `rejected` as an answer to `prompt`."""

    prompt: Prompt
    chosen: str
    rejected: str
    kind: Kind = "vote"
    weight: float = 1.0  # in votes, 0..1: each way of a tie has half a vote, each of a ranking's n pairs the n-th part of one
    margin: float = 0.0  # by how much better, 0..1; 0 if the annotator did not say
    task_id: int | None = None
    annotation_id: int | None = None
    annotator_id: int | None = None
    chosen_side: Side | None = None  # the chosen answer's (of a list, the one that stands first is left); None for a written one
    suggested_version: str | None = None  # the version whose suggestion the annotator saw
    suggested_side: Side | None = None  # what it suggested: the side that was lit, else the one with the higher reward
    is_lit: bool = False  # whether that side was lit
    suggested_confidence: float | None = None  # how sure it was of that, .5..1
    is_by_confidence: bool = False  # whether that decided when the task was served, least confident first, and not a lot
    is_blind: bool = False  # whether the version answered with a prediction that shows nothing, as for the control group
    is_ground_truth: bool = False
    lead_seconds: float | None = None  # how long the annotator took
    judged_at: str | None = None  # ISO 8601, when the annotation was made
    guidelines: str | None = None  # the version of the guidelines that stood then; None if there were none
    criteria: str = NONE  # what else the annotator said: a JSON object, by the names of the controls
    compared: str = ""  # of a pair without a prompt: a digest of the answers that were shown together
    trust: float = 1.0  # what its annotator's word counts in training (ANNOTATOR_WEIGHTS), and nowhere else

    @property
    def question(self) -> Prompt:
        """What decides on which side of every split it stands: its prompt; without one, which answers were compared."""
        return self.prompt or self.compared

    @property
    def training_weight(self) -> float:
        """What it counts in training, in votes."""
        return self.weight * self.trust

    @property
    def is_judged(self) -> bool:
        """Whether a person compared the two answers, and did not write one of them."""
        return self.kind not in ("written", "rated")


def majority(pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
    """One vote for each comparison (same question, same two answers, whichever was on the left), as most of the votes and rankings went.

    Ties and written pairs do not count. A comparison whose votes are balanced is dropped. The vote has weight 1, the mean margin
    of the votes that agree with it, and the time of the latest of these. Of their tasks, annotations, annotators, sides, versions,
    lead times, guidelines and criteria it keeps what all of them share. Order: each comparison's first vote.
    """
    comparisons: dict[Comparison, list[PreferencePair]] = {}
    for pair in pairs:
        if pair.kind in ("vote", "ranking"):
            comparisons.setdefault(comparison_of(pair), []).append(pair)
    merged = []
    for votes in comparisons.values():
        balance = sum(vote.weight if vote.chosen == votes[0].chosen else -vote.weight for vote in votes)
        if balance:
            merged.append(_merged([vote for vote in votes if (vote.chosen == votes[0].chosen) == (balance > 0)]))
    return merged


def comparison_of(pair: PreferencePair) -> Comparison:
    """What all votes on one comparison have in common: its question, normalised, and its two answers."""
    return normalised(pair.question), frozenset((pair.chosen, pair.rejected))


def drawn(ranking: Iterable[PreferencePair]) -> PreferencePair:
    """One pair of a ranking, to stand for it wherever a judgement counts once: drawn by the texts, so the same for all who rank them."""

    def digest(pair: PreferencePair) -> bytes:
        return hashlib.sha256("|".join([transcript(pair.prompt), *sorted((pair.chosen, pair.rejected))]).encode()).digest()

    return min(ranking, key=digest)


def num_comparisons(decided: Iterable[PreferencePair]) -> int:
    """How many comparisons these are, of which `majority` left one pair each: all that were made by ranking one prompt are one."""
    return len({normalised(pair.question) if pair.kind == "ranking" else i for i, pair in enumerate(decided)})


def num_votes(pairs: Iterable[PreferencePair]) -> int:
    """How many judgements these pairs are, a tie or a ranking counted once."""
    return round(sum(pair.weight for pair in pairs))


def write_pairs(pairs: Iterable[PreferencePair], path: Path) -> None:
    """Writes one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(dataclasses.asdict(pair), ensure_ascii=False) + "\n")


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a JSON-lines file; keys other than PreferencePair's are ignored."""
    names = {field.name for field in dataclasses.fields(PreferencePair)}
    with path.open(encoding="utf-8") as file:
        rows = [{k: v for k, v in json.loads(line).items() if k in names} for line in file if line.strip()]
    return [PreferencePair(**{**row, "prompt": _as_kept(row["prompt"])}) for row in rows]


def _as_kept(prompt: str | list[list[str]]) -> Prompt:
    return prompt if isinstance(prompt, str) else tuple(Turn(*turn) for turn in prompt)


def _merged(votes: Sequence[PreferencePair]) -> PreferencePair:
    """Votes that agree as one; what they do not share is as if unknown."""
    shared: dict[str, Any] = {}
    for name in (
        "task_id",
        "annotation_id",
        "annotator_id",
        "chosen_side",
        "suggested_version",
        "suggested_side",
        "suggested_confidence",
        "lead_seconds",
        "guidelines",
        "criteria",
    ):
        values = {getattr(vote, name) for vote in votes}
        shared[name] = values.pop() if len(values) == 1 else NONE if name == "criteria" else None
    return dataclasses.replace(
        votes[0],
        **shared,
        weight=1.0,
        trust=1.0,
        margin=sum(vote.weight * vote.margin for vote in votes) / sum(vote.weight for vote in votes),
        is_lit=all(vote.is_lit for vote in votes),
        is_blind=all(vote.is_blind for vote in votes),
        is_by_confidence=any(vote.is_by_confidence for vote in votes),
        is_ground_truth=all(vote.is_ground_truth for vote in votes),
        judged_at=max((vote.judged_at for vote in votes if vote.judged_at), default=None),
    )
