"""The report card's figures of one round, for card.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from preference.labelling.control_group import ControlGroup
from preference.labelling.pairs import PreferencePair
from preference.report_card.card import ReportCard
from preference.report_card.figures import CurvePoint, ReportFigures, SuggestionEffect
from preference.report_card.people_figures import KindFigures, WeightsEffect
from preference.reward_model.model import RewardModel
from trainer.evaluation.judge import LoadedChampion, Verdict
from trainer.evaluation.pair_rewards import once_each
from trainer.judgements.field_values import FieldValues
from trainer.people.agreement import people_figures
from trainer.people.judgements import judgements_of, left_rate
from trainer.people.slices import sliced_accuracy
from trainer.reporting.criteria import criteria_figures
from trainer.reporting.figures import (
    confidences,
    history,
    length_matched,
    prequential,
    reliability,
    reward_and_length,
    suggestions,
)
from trainer.reporting.guidelines import by_guidelines
from trainer.reporting.serving_order import serving_order
from trainer.reporting.suggestion_effect import compared_versions, control_accuracy
from trainer.reporting.suspect_labels import most_suspect


@dataclass(frozen=True, eq=False)
class RoundPairs:
    """What a round made of the judgements."""

    train: Sequence[PreferencePair]
    holdout: Sequence[PreferencePair]  # one for each held-out comparison, in the order in which the judge scored them
    votes: Sequence[PreferencePair]  # all that are held out
    dropped: Mapping[str, int]  # judgements that became no pair, by reason
    gaps: ArrayLike | None  # TrainingResult.gaps, of `train`
    again: Sequence[PreferencePair] = ()  # judgements of repeats, of which nothing learns
    values: FieldValues = field(default_factory=dict)  # by which accuracy is sliced


@dataclass(frozen=True, eq=False)
class EarlierVersions:
    """The versions that are known when a round is reported."""

    cards: Sequence[ReportCard]  # of all that can be read
    champion: LoadedChampion | None  # None without one, and if it cannot be loaded


def report_figures(
    challenger: RewardModel,
    verdict: Verdict,
    *,
    pairs: RoundPairs,
    earlier: EarlierVersions,
    learning_curve: Sequence[CurvePoint] = (),
    project_url: str,
    effect: SuggestionEffect | None = None,
    kinds: Sequence[KindFigures] = (),
    weights: WeightsEffect | None = None,
    control: ControlGroup | None = None,
) -> ReportFigures:
    """The figures of ReportCard.report; what there are too few data for is None.

    `project_url`: the project's page in Label Studio. `effect`: how far suggestions move people, which the judge needs, too; `control`: as suggestion_effect has
    it. The champion scores the judgements that are newer than itself. Nothing else is scored.
    """
    every = [*pairs.train, *pairs.votes]
    judgements = judgements_of(every)
    rewards, before = verdict.rewards, verdict.champion_rewards
    if rewards is not None and not np.isfinite(rewards.gaps).all():
        rewards = None
    later = None
    if earlier.champion is not None and earlier.champion.card is not None:
        later = prequential(every, earlier.champion.model, earlier.champion.card)
    num_ties = sum(made.outcome == "tie" for made in judgements)
    return ReportFigures(
        people=people_figures(judgements, again=judgements_of(pairs.again)),
        guidelines=by_guidelines(judgements, votes=pairs.votes, holdout=pairs.holdout, rewards=rewards),
        left_rate=left_rate(judgements),
        suggestions=suggestions(judgements),
        suggestion_effect=effect,
        control_accuracy=control_accuracy(
            pairs.holdout,
            compared_versions(judgements, control=control),
            this=rewards.right if rewards is not None else None,
            champion=before.right if before is not None else None,
            control=control,
        ),
        serving_order=serving_order(pairs.holdout, rewards.right, control=control) if rewards is not None else None,
        num_ties=num_ties + pairs.dropped.get("tie", 0) + pairs.dropped.get("both bad", 0),
        num_rankings=sum(made.is_ranking for made in judgements),
        dropped=dict(pairs.dropped),
        reliability=reliability(
            once_each(confidences(challenger, rewards), pairs.holdout), once_each(rewards.right, pairs.holdout)
        )
        if rewards is not None
        else None,
        length=reward_and_length(pairs.holdout, rewards) if rewards is not None else None,
        length_matched=length_matched(pairs.holdout, rewards.right) if rewards is not None else None,
        learning_curve=tuple(learning_curve),
        prequential=later,
        versions=history(earlier.cards, later),
        criteria=criteria_figures(judgements, pairs.votes, pairs.holdout, rewards),
        weights=weights,
        kinds=tuple(kinds),
        slices=sliced_accuracy(pairs.holdout, rewards.right, votes=pairs.votes, values=pairs.values)
        if rewards is not None
        else (),
        suspects=most_suspect(pairs.train, pairs.gaps, temperature=challenger.description.temperature, project_url=project_url),
    )
