"""How far people agree, among themselves and with the model, by the version of the guidelines that stood when they judged."""

from collections import defaultdict
from collections.abc import Sequence

from preference.labelling.pairs import PreferencePair, comparison_of
from preference.report_card.people_figures import GuidelinesFigures
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards
from trainer.people.agreement import people_figures
from trainer.people.judgements import Judgement
from trainer.reporting.figures import AT_LEAST


def by_guidelines(
    judgements: Sequence[Judgement],
    *,
    votes: Sequence[PreferencePair],
    holdout: Sequence[PreferencePair],
    rewards: Rewards | None,
) -> tuple[GuidelinesFigures, ...]:
    """A row for each version, in the order of their first judgements; none if all were made under one, or without any.

    `votes`: all that are held out; `holdout`: one for each comparison among them; `rewards`: the model's, of `holdout`. Two
    annotators are compared if both judged under the same version.
    """
    made: dict[str | None, list[Judgement]] = defaultdict(list)
    for judgement in sorted(judgements, key=lambda judgement: judgement.judged_at or ""):
        made[judgement.guidelines].append(judgement)
    if len(made) < 2:
        return ()
    agrees = _agrees_with_model(votes, holdout, rewards)
    return tuple(_row(version, group, agrees[version]) for version, group in made.items())


def _row(version: str | None, made: Sequence[Judgement], agrees: Sequence[float]) -> GuidelinesFigures:
    people = people_figures(made)
    return GuidelinesFigures(
        version=version,
        since=made[0].judged_at,
        num_judgements=len(made),
        agreement=people.agreement,
        alpha=people.alpha,
        model=share(agrees, at_least=AT_LEAST),
    )


def _agrees_with_model(
    votes: Sequence[PreferencePair], holdout: Sequence[PreferencePair], rewards: Rewards | None
) -> dict[str | None, list[float]]:
    """By version, of each vote on a comparison of `holdout`, 1 if the model prefers the chosen answer, else 0."""
    agrees: dict[str | None, list[float]] = defaultdict(list)
    if rewards is None:
        return agrees
    known = {comparison_of(pair): (pair.chosen, gap) for pair, gap in zip(holdout, rewards.gaps, strict=True)}
    for vote in votes:
        if vote.kind == "vote" and (decided := known.get(comparison_of(vote))):
            chosen, gap = decided
            agrees[vote.guidelines].append(float(gap > 0 if vote.chosen == chosen else gap < 0))
    return agrees
