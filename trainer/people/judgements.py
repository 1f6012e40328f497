"""The judgements that pairs were made of, one for each annotation, and the comparisons that several people judged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from preference.labelling.controls.criteria import NONE
from preference.labelling.controls.verdict import Side
from preference.labelling.pairs import PreferencePair, drawn
from preference.labelling.prompts import Prompt, normalised
from preference.report_card.shares import Share
from trainer.evaluation.intervals import share

MIN_SHARED = 5  # comparisons judged by several; with fewer, agreement is None
Outcome = Literal["left", "right", "tie"]  # a tie, or both bad
Comparison = tuple[int | None, tuple[str, str] | None]  # a task, and of a list which of its answers
Texts = tuple[str, frozenset[str]]  # the question and the answers


@dataclass(frozen=True)
class Judgement:
    """One annotation that says something of the answers, however many pairs it became.

    Of a ranking, one pair stands for all (`drawn`), which is the same for everybody who orders the same answers.
    """

    outcome: Outcome | None  # None if a better answer was written and no side was chosen
    task_id: int | None
    annotation_id: int | None
    annotator_id: int | None
    suggested_version: str | None
    suggested_side: Side | None
    is_lit: bool  # this and what follows as PreferencePair has it
    suggested_confidence: float | None
    is_blind: bool
    lead_seconds: float | None
    judged_at: str | None
    prompt: Prompt
    answers: tuple[str, str] | None  # left and right; None if no side was chosen
    guidelines: str | None = None  # as PreferencePair has it
    is_ranking: bool = False
    question: Prompt = ""  # this and what follows as PreferencePair has it
    criteria: str = NONE
    is_ground_truth: bool = False

    @property
    def comparison(self) -> Comparison:
        """The same for all who compared the same: of a list sorted into buckets, the pair that stands for all may differ."""
        return self.task_id, self.answers if self.is_ranking else None

    @property
    def texts(self) -> Texts | None:
        """What was compared, whichever answer stood left; None if no side was chosen."""
        return None if self.answers is None else (normalised(self.question), frozenset(self.answers))


def judgements_of(pairs: Sequence[PreferencePair]) -> list[Judgement]:
    """The annotations that these pairs were made of, in order; a pair without an annotation's id is one of its own."""
    grouped: dict[object, list[PreferencePair]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        grouped[("alone", i) if pair.annotation_id is None else (pair.task_id, pair.annotation_id)].append(pair)
    return [_judgement(group) for group in grouped.values()]


def with_suggestion(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Those made with a suggestion: a lit side or, of a version that lit no side at all (SUGGEST=scores), a higher reward."""
    lighting = {made.suggested_version for made in judgements if made.is_lit}
    suggested = [made for made in judgements if made.suggested_side is not None]
    return [made for made in suggested if made.is_lit or made.suggested_version not in lighting]


def left_rate(judgements: Sequence[Judgement], *, at_least: int = 1) -> Share:
    """How often the left answer won among those that named a side; .5 if nobody is biased."""
    sides = [judgement.outcome for judgement in judgements if judgement.outcome in ("left", "right")]
    return share([float(side == "left") for side in sides], at_least=at_least)


def _judgement(group: Sequence[PreferencePair]) -> Judgement:
    judged = [pair for pair in group if pair.kind != "written"]
    outcome: Outcome | None = None
    answers: tuple[str, str] | None = None
    is_ranking = any(pair.kind == "ranking" for pair in judged)
    if is_ranking:
        judged = [drawn(judged)]
    if any(pair.kind in ("tie", "both_bad") for pair in judged):
        outcome = "tie"
    elif judged:
        outcome = judged[0].chosen_side
    first = (judged or group)[0]
    if judged:
        vote = judged[0]
        answers = (vote.rejected, vote.chosen) if vote.chosen_side == "right" else (vote.chosen, vote.rejected)
    return Judgement(
        outcome, first.task_id, first.annotation_id, first.annotator_id, first.suggested_version, first.suggested_side,
        first.is_lit, first.suggested_confidence, first.is_blind, first.lead_seconds, first.judged_at, first.prompt, answers,
        first.guidelines, is_ranking, first.question, first.criteria, first.is_ground_truth,
    )  # fmt: skip


def outcomes_by_task(judgements: Sequence[Judgement]) -> dict[Comparison, dict[int, Outcome]]:
    """The outcome by annotator, for each comparison that several people judged; the later one if somebody judged it twice."""
    by_task: dict[Comparison, dict[int, Outcome]] = defaultdict(dict)
    for judgement in sorted(judgements, key=lambda made: (made.judged_at or "", made.annotation_id or 0)):
        if judgement.task_id is not None and judgement.annotator_id is not None and judgement.outcome is not None:
            by_task[judgement.comparison][judgement.annotator_id] = judgement.outcome
    return {task: outcomes for task, outcomes in by_task.items() if len(outcomes) > 1}


def outcomes_alike(outcome: Outcome, others: Sequence[Outcome]) -> float:
    """The share of other people's outcomes that are the same; there must be some."""
    return sum(other == outcome for other in others) / len(others)
