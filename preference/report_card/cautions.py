"""What a reader of a report card should know before trusting its accuracy, in sentences."""

from preference.report_card.card import ReportCard
from preference.report_card.shares import Share

_FEW = (
    0.1  # of the held-out comparisons: with fewer that were served by confidence, the accuracy is too low by half a point at most
)


def cautions(card: ReportCard) -> list[str]:
    """A sentence for each reason why the accuracy is not what it seems; none if there is none."""
    return [sentence for sentence in (_hardest_first(card), _beside_the_champion(card)) if sentence]


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
    return f"{votes}; {metrics.pull:.0%} of the people who see one seem to follow it, and the gain over the champion is corrected for that"
