"""From which confidence on a version suggests a side, by its card."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from preference.report_card.card import ReportCard
from preference.report_card.figures import Bin, JudgedFigures, Reliability, ReportFigures
from preference.tolerant import read_as
from tests.support.cards import CARD, EMPTY_CARD
from trainer.reporting.figures import reliability


def measured(*accuracies: float, count: int = 20) -> Reliability:
    """Bins of so many comparisons each, with mean confidences .55, .6, .65 and so on."""
    return Reliability(bins=tuple(Bin(0.55 + 0.05 * n, value, count=count) for n, value in enumerate(accuracies)))


@pytest.mark.parametrize(
    ("accuracies", "count", "expected"),
    [
        ((0.8, 0.9), 20, 0.5),  # beyond chance everywhere
        ((0.5, 0.8), 20, 0.575),
        ((0.5, 0.55, 0.65, 0.8), 20, 0.675),
        ((0.5, 0.55, 0.65, 0.8), 200, 0.625),  # more comparisons tell more of it apart from chance
        ((0.5, 0.7, 0.7), 20, 0.575),  # neither bin alone, but both together, as accuracy does not rise between them
        ((0.5, 0.5, 0.5), 200, None),
        ((0.9, 0.5, 0.1), 20, None),  # the surer, the wronger
        ((0.4, 0.8, 0.7, 0.85), 20, 0.575),  # a bin that was unlucky raises nothing
        ((0.75, 0.45, 0.5, 0.85), 20, 0.675),  # and one that was lucky lowers nothing
        ((1.0,), 1, None),
        ((), 20, None),
    ],
)
def test_a_side_is_suggested_from_where_the_accuracy_is_beyond_chance(
    accuracies: Sequence[float], count: int, expected: float | None
) -> None:
    found = measured(*accuracies, count=count).beyond_chance_from

    assert found == (None if expected is None else pytest.approx(expected))


def test_without_counts_nothing_is_beyond_chance() -> None:
    assert read_as(Reliability, {"bins": [{"confidence": 0.9, "value": 1.0}]}).beyond_chance_from is None


@pytest.mark.parametrize("num_pairs", [40, 200, 1000])
def test_a_model_that_knows_nothing_suggests_hardly_ever_and_a_good_one_the_more_the_better_it_is_known(num_pairs: int) -> None:
    chance = np.random.default_rng(num_pairs)
    nothing, good = list[float | None](), list[float | None]()
    for _ in range(100):
        confidence = 0.5 + chance.uniform(size=num_pairs) / 2
        for right, found in ((0.5, nothing), (confidence, good)):
            made = reliability(confidence, (chance.uniform(size=num_pairs) < right).astype(float))
            assert made is not None
            found.append(made.beyond_chance_from)

    assert sum(found is not None for found in nothing) <= 15
    known = [found for found in good if found is not None]
    assert len(known) > 95 and np.median(known) < {40: 0.76, 200: 0.70, 1000: 0.65}[num_pairs]


def test_with_too_few_comparisons_for_that_all_of_them_together_decide() -> None:
    def card(interval: tuple[float, float] | None) -> ReportCard:
        return dataclasses.replace(EMPTY_CARD, metrics=JudgedFigures(interval=interval))

    assert [card(each).suggest_from for each in ((0.51, 0.9), (0.5, 0.9), None)] == [0.5, None, None]
    assert CARD.suggest_from == 0.5
    sure = dataclasses.replace(CARD, report=ReportFigures(reliability=measured(0.5, 0.8)))
    assert sure.suggest_from == pytest.approx(0.575)
