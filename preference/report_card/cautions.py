"""What a reader of a report card should know before trusting its accuracy, in sentences."""

from collections.abc import Mapping

from preference.formatting import per_cent
from preference.labelling.holdout import MIN_HOLDOUT
from preference.report_card.card import ReportCard
from preference.report_card.people_figures import WeightsEffect
from preference.report_card.shares import Share
from preference.report_card.winners_curse import ENOUGH, excess_of

RULES = {"longer": "choosing the longer answer", "shorter": "choosing the shorter answer", "style": "style alone"}
_NOISE = 0.05  # a p-value below it is no noise, as for the judge
_FEW = (
    0.1  # of the held-out comparisons: with fewer that were served by confidence, the accuracy is too low by half a point at most
)


def cautions(card: ReportCard, *, names: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each reason why the accuracy is not what it seems, and on whose votes it stands if not all count alike in training.

    `names`: of annotators, by their numbers.
    """
    weights = _weights(card.report.weights, names or {})
    found = (_few(card), _no_better_than_a_rule(card), _hardest_first(card), _beside_the_champion(card), weights)
    return [sentence for sentence in found if sentence]


def headline(card: ReportCard) -> str:
    """The accuracy as far as there is evidence for it: in per cent, its interval below ENOUGH comparisons, empty below MIN_HOLDOUT."""
    metrics = card.metrics
    if metrics.accuracy is None or (metrics.num_pairs is not None and metrics.num_pairs < MIN_HOLDOUT):
        return ""
    if metrics.interval and metrics.num_pairs is not None and metrics.num_pairs < ENOUGH:
        return f"{100 * metrics.interval[0]:.0f} to {100 * metrics.interval[1]:.0f} %"
    return per_cent(metrics.accuracy)


def _few(card: ReportCard) -> str:
    """What so few comparisons can say of the version, and what choosing it on them did to its accuracy."""
    count, excess = card.metrics.num_pairs, excess_of(card.metrics, promoted=card.promoted)
    if card.metrics.accuracy is not None and count is not None and count < MIN_HOLDOUT:
        return f"{count} held-out comparison{'' if count == 1 else 's'} cannot say how good it is; {MIN_HOLDOUT} are the least"
    is_first = card.compared_with is None and not card.report.versions
    if excess is None or is_first:
        return ""
    return (
        f"It was chosen on these {count} comparisons, so the accuracy is too high: after 20 rounds by some {excess:.2f} if the versions that it "
        f"was chosen from are equally good, and less before. From {ENOUGH} comparisons on that matters little"
    )


def _no_better_than_a_rule(card: ReportCard) -> str:
    """The best of the rules that the version is not better than, beyond noise."""
    metrics = card.metrics
    rules = {
        name: rule
        for name, rule in metrics.baselines.items()
        if name in RULES
        and rule.value is not None
        and rule.gain is not None
        and rule.p_better is not None
        and rule.p_better >= _NOISE
    }
    if metrics.accuracy is None or not rules or (metrics.num_pairs or 0) < MIN_HOLDOUT:
        return ""
    name, rule = max(rules.items(), key=lambda item: item[1].value or 0)
    beside = f"{metrics.accuracy:.3f} beside {rule.value:.3f}"
    if (rule.gain or 0) <= 0:
        return f"It is no better than {RULES[name]}: {beside}"
    return f"It may be no better than {RULES[name]}: {beside}, a difference that could be luck"


def _hardest_first(card: ReportCard) -> str:
    """That many of the comparisons were served because a version was unsure of them, until that is a small part."""
    order, count = card.report.serving_order, card.metrics.num_pairs
    if order is None or not order.num_by_confidence or not count or order.num_by_confidence <= _FEW * count:
        return ""
    others = order.by_lot or Share()
    beside = f"; on the {others.count} others, it is {others.value:.3f}" if others.value is not None else ""
    return (
        f"{order.num_by_confidence} of the {count} held-out comparisons were served because a version was unsure of them, by an earlier "
        f"build: they are harder than most, so the accuracy is too low by some points{beside}"
    )


def _beside_the_champion(card: ReportCard) -> str:
    """On which votes the comparison with the champion stands."""
    metrics = card.metrics
    if not metrics.num_beside or metrics.champion is None:
        return ""
    votes = f"{metrics.num_beside} of {metrics.num_pairs} held-out comparisons were judged beside a suggestion of the champion"
    if metrics.pull is None:
        return f"{votes}, which may favour it: the control group is too small to say how far that moves people"
    if not metrics.pull:
        return f"{votes}; the control group shows no sign that this moves people"
    return (
        f"{votes}; {metrics.pull:.0%} of the people who see one seem to follow it. The gain over the champion is corrected for that. The accuracy is "
        "not: where this version prefers the champion's side, whoever follows makes it look better than it is"
    )


def _weights(effect: WeightsEffect | None, names: Mapping[str, str]) -> str:
    """Whose votes count more or less in training, and what the held-out accuracy is with that and without; empty if all count alike."""
    if effect is None:
        return ""
    if not effect.by_annotator:
        return "ANNOTATOR_WEIGHTS makes no difference: nobody whom it names made a judgement that is trained on, or all have a weight of 1"
    weights = ", ".join(f"{names.get(who, f'annotator {who}')}: {weight:g}" for who, weight in effect.by_annotator.items())
    counts = f"In training, not all votes count alike ({weights}, all others: 1)"
    weighted, alike = effect.weighted, effect.unweighted
    if weighted is None or weighted.value is None:
        return counts
    if alike is None or alike.value is None:
        return f"{counts}. What that changes is not computed: this recipe would have to be trained twice"
    if f"{weighted.value:.3f}" == f"{alike.value:.3f}":
        return f"{counts}. The held-out accuracy is {weighted.value:.3f} with and without these weights, on {weighted.count} comparisons"
    return (
        f"{counts}. The held-out accuracy is {weighted.value:.3f} with these weights and {alike.value:.3f} without, "
        f"on {weighted.count} comparisons"
    )
