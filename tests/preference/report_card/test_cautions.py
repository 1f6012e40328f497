import dataclasses
import json
from typing import Any

import pytest

from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions, headline
from preference.report_card.figures import JudgedFigures, ReportFigures, RuleFigures, ServingOrder, VersionRow
from preference.report_card.people_figures import WeightsEffect
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
            "; 12% of the people who see one seem to follow it. The gain over the champion is corrected for that. The accuracy is not: "
            "where this version prefers the champion's side, whoever follows makes it look better than it is",
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


# Few comparisons


def small(num_pairs: int, *, promoted: bool = True, accuracy: float = 0.8, **figures: Any) -> ReportCard:
    metrics = JudgedFigures(accuracy=accuracy, interval=(0.626, 0.912), num_pairs=num_pairs, **figures)
    return dataclasses.replace(CARD, metrics=metrics, promoted=promoted, compared_with="v1-20261101-000000")


@pytest.mark.parametrize(("num_pairs", "excess"), [(8, "0.22"), (20, "0.13"), (30, "0.09"), (60, "0.05"), (99, "0.03")])
def test_below_a_hundred_comparisons_a_version_that_was_chosen_on_them_says_how_much_too_high_its_accuracy_may_be(
    num_pairs: int, excess: str
) -> None:
    (sentence,) = cautions(small(num_pairs))

    assert sentence.startswith(
        f"It was chosen on these {num_pairs} comparisons, so the accuracy is too high: after 20 rounds by some {excess} if "
    )


def test_what_was_kept_back_or_has_a_hundred_comparisons_says_nothing_of_that() -> None:
    assert cautions(small(30, promoted=False)) == cautions(small(100)) == []


def test_the_first_version_was_chosen_from_none_and_says_nothing_of_that() -> None:
    first = dataclasses.replace(small(30), compared_with=None)
    assert cautions(first) == []
    unloadable = dataclasses.replace(first, report=ReportFigures(versions=(VersionRow(version="v1-20261101-000000"),)))
    assert len(cautions(unloadable)) == 1


def test_four_comparisons_say_nothing_of_a_version() -> None:
    card = small(4, promoted=False, accuracy=1.0)

    assert cautions(card) == ["4 held-out comparisons cannot say how good it is; 8 are the least"]
    assert headline(card) == ""


@pytest.mark.parametrize(
    ("num_pairs", "words"), [(7, ""), (8, "63 to 91 %"), (99, "63 to 91 %"), (100, "80.0 %"), (None, "80.0 %")]
)
def test_the_headline_waits_for_evidence(num_pairs: int, words: str) -> None:
    assert headline(small(num_pairs)) == words


def test_a_version_that_is_no_better_than_a_rule_says_so() -> None:
    rules = {
        "longer": RuleFigures(value=0.6, gain=0.2, p_better=0.001),
        "style": RuleFigures(value=0.8, gain=0.0, p_better=0.6),
    }
    assert cautions(small(400, baselines=rules)) == ["It is no better than style alone: 0.800 beside 0.800"]

    rules["style"] = RuleFigures(value=0.78, gain=0.02, p_better=0.3)
    assert cautions(small(400, baselines=rules)) == [
        "It may be no better than style alone: 0.800 beside 0.780, a difference that could be luck"
    ]
    assert cautions(small(400, baselines={"longer": rules["longer"]})) == []


@pytest.mark.parametrize(
    ("weights", "end"),
    [
        (None, ""),
        (WeightsEffect(), "nobody whom it names made a judgement that is trained on, or all have a weight of 1"),
        (
            WeightsEffect({"7": 0.5, "9": 0.0}, Share(0.71, None, 120), Share(0.7, None, 120)),
            "In training, not all votes count alike (Ann: 0.5, annotator 9: 0, all others: 1). The held-out accuracy is 0.710 with these weights "
            "and 0.700 without, on 120 comparisons",
        ),
        (
            WeightsEffect({"7": 0.5}, Share(0.71, None, 120), Share(0.71, None, 120)),
            "The held-out accuracy is 0.710 with and without these weights, on 120 comparisons",
        ),
        (WeightsEffect({"7": 0.5}, Share(0.71, None, 120)), "is not computed: this recipe would have to be trained twice"),
        (WeightsEffect({"7": 0.5}, Share()), "In training, not all votes count alike (Ann: 0.5, all others: 1)"),
    ],
)
def test_it_says_whose_votes_count_less_in_training_and_what_that_changes(weights: WeightsEffect | None, end: str) -> None:
    weighed = dataclasses.replace(CARD, metrics=card().metrics, report=ReportFigures(weights=weights))
    sentences = cautions(weighed, names={"7": "Ann"})

    assert "".join(sentences).endswith(end) and len(sentences) == bool(end)
    assert cautions(ReportCard.from_values(json.loads(weighed.to_json())), names={"7": "Ann"}) == sentences
