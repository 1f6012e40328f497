import dataclasses
from typing import Any

import pytest

from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions
from preference.report_card.figures import JudgedFigures, ReportFigures, ServingOrder
from preference.report_card.shares import Share
from tests.support.cards import CARD


def card(order: ServingOrder | None = None, **figures: Any) -> ReportCard:
    metrics = JudgedFigures(accuracy=0.65, interval=(0.6, 0.7), num_pairs=400, **figures)
    return dataclasses.replace(CARD, metrics=metrics, report=ReportFigures(serving_order=order))


def test_a_card_says_which_part_of_its_accuracy_comes_from_tasks_that_were_served_hardest_first() -> None:
    (sentence,) = cautions(card(ServingOrder(300, Share(0.72, (0.6, 0.8), 100))))

    assert sentence.startswith("300 of the 400 held-out comparisons were served because a version was unsure of them")
    assert sentence.endswith("so the accuracy is too low by some points; on the 100 others, it is 0.720")


def test_while_there_are_too_few_others_it_names_no_accuracy_of_theirs() -> None:
    (sentence,) = cautions(card(ServingOrder(395, Share(count=5))))

    assert sentence.endswith("so the accuracy is too low by some points")


@pytest.mark.parametrize("order", [None, ServingOrder(), ServingOrder(40, Share(0.7, None, 360))])
def test_once_they_are_a_small_part_it_says_nothing(order: ServingOrder | None) -> None:
    assert cautions(card(order)) == []


@pytest.mark.parametrize(
    ("figures", "end"),
    [
        (
            {"pull": 0.12},
            "; 12% of the people who see one seem to follow it, and the gain over the champion is corrected for that",
        ),
        ({"pull": 0.0}, "; the control group shows no sign that this moves people"),
        ({}, ", which may favour it: the control group is too small to say how far that moves people"),
    ],
)
def test_a_card_says_on_which_votes_the_comparison_with_the_champion_stands(figures: dict[str, Any], end: str) -> None:
    (sentence,) = cautions(card(champion=0.7, num_beside=300, **figures))

    assert sentence == f"300 of 400 held-out comparisons were judged beside a suggestion of the champion{end}"


@pytest.mark.parametrize("figures", [{"champion": 0.7, "num_beside": 0, "pull": 0.1}, {"champion": 0.7}, {"num_beside": 3}])
def test_without_such_votes_it_says_nothing_of_them(figures: dict[str, Any]) -> None:
    assert cautions(card(**figures)) == []
