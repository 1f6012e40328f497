"""Who judged what: how much, how fast, on which side, and how far people agree."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import krippendorff
import numpy as np
from scipy.stats import binomtest

from preference.labelling.controls.criteria import NONE
from preference.labelling.controls.verdict import Side
from preference.labelling.pairs import PreferencePair, drawn
from preference.labelling.prompts import Prompt
from preference.report_card.figures import AnnotatorFigures, People
from preference.report_card.shares import Share
from trainer.evaluation.intervals import share

MIN_SHARED = 5  # comparisons judged by several; with fewer, agreement is None
_MOST_LISTED = 50
_ONE_SIDED = 0.8
Outcome = Literal["left", "right", "tie"]  # a tie, or both bad
Comparison = tuple[int | None, tuple[str, str] | None]  # a task, and of a list which of its answers


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

    @property
    def comparison(self) -> Comparison:
        """The same for all who compared the same: of a list sorted into buckets, the pair that stands for all may differ."""
        return self.task_id, self.answers if self.is_ranking else None


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


def people_figures(judgements: Sequence[Judgement]) -> People:
    """How far people agree, and a row for each annotator, those with most judgements first.

    `agreement`: how often two annotators of one comparison agree (left, right or tie), each comparison counted once.
    `alpha`: Krippendorff's, nominal; 1 is perfect, 0 is chance. `num_shared`: comparisons that several judged. Both are None
    below MIN_SHARED of them. If one annotator judged a task twice, the later judgement counts for agreement.
    """
    shared = outcomes_by_task(judgements)
    counts = [Counter(outcomes.values()) for outcomes in shared.values()]
    by_annotator: dict[int | None, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_annotator[judgement.annotator_id].append(judgement)
    ordered = sorted(by_annotator.items(), key=lambda item: (-len(item[1]), str(item[0])))
    return People(
        num_annotators=len(by_annotator),
        num_shared=len(shared),
        agreement=share([_alike(count) for count in counts], at_least=MIN_SHARED),
        alpha=_alpha(counts),
        annotators=tuple(_row(annotator, made, shared) for annotator, made in ordered[:_MOST_LISTED]),
    )


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
        first.guidelines, is_ranking, first.question, first.criteria,
    )  # fmt: skip


def outcomes_by_task(judgements: Sequence[Judgement]) -> dict[Comparison, dict[int, Outcome]]:
    """The outcome by annotator, for each comparison that several people judged; the later one if somebody judged it twice."""
    by_task: dict[Comparison, dict[int, Outcome]] = defaultdict(dict)
    for judgement in sorted(judgements, key=lambda made: (made.judged_at or "", made.annotation_id or 0)):
        if judgement.task_id is not None and judgement.annotator_id is not None and judgement.outcome is not None:
            by_task[judgement.comparison][judgement.annotator_id] = judgement.outcome
    return {task: outcomes for task, outcomes in by_task.items() if len(outcomes) > 1}


def _alike(count: Counter[Outcome]) -> float:
    """The share of pairs of annotators that judged one comparison alike."""
    total = count.total()
    return sum(n * (n - 1) for n in count.values()) / (total * (total - 1))


def _alpha(counts: Sequence[Counter[Outcome]]) -> float | None:
    """Krippendorff's alpha; None for few comparisons, and if all have one outcome, so that chance agreement is certain."""
    values = sorted({outcome for count in counts for outcome in count})
    if len(counts) < MIN_SHARED or len(values) < 2:
        return None
    table = np.array([[count[value] for value in values] for count in counts])
    return round(float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal")), 4)


def _row(annotator: int | None, made: Sequence[Judgement], shared: dict[Comparison, dict[int, Outcome]]) -> AnnotatorFigures:
    lead = [judgement.lead_seconds for judgement in made if judgement.lead_seconds is not None and judgement.lead_seconds > 0]
    alike = []
    for outcomes in shared.values():
        if annotator is not None and annotator in outcomes:
            others = Counter(outcome for other, outcome in outcomes.items() if other != annotator)
            alike.append(others[outcomes[annotator]] / others.total())
    agreement = share(alike, at_least=MIN_SHARED)
    return AnnotatorFigures(
        annotator=annotator,
        num_judgements=len(made),
        num_ties=sum(judgement.outcome == "tie" for judgement in made),
        left_rate=left_rate(made),
        agreement=agreement,
        lead_seconds=round(median(lead), 1) if lead else None,
        flags=(*_one_sided(made), *_contrary(agreement)),
    )


def _one_sided(made: Sequence[Judgement]) -> list[str]:
    """A flag if one side won more than four times in five, and a coin would do that once in a thousand at most."""
    sides = Counter(judgement.outcome for judgement in made)
    total = sides["left"] + sides["right"]
    for side in ("left", "right"):
        if total and sides[side] > _ONE_SIDED * total and binomtest(sides[side], total, alternative="greater").pvalue < 0.001:
            return [f"nearly always picks {side}"]
    return []


def _contrary(agreement: Share) -> list[str]:
    """A flag if somebody agrees with the others less than a coin does."""
    return ["disagrees with the others"] if agreement.interval is not None and agreement.interval[1] < 0.5 else []
