import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Turn, normalised, transcript, turns_of
from preference.report_card.card import ReportCard
from preference.report_card.figures import LaterAccuracy, ReportFigures
from preference.report_card.shares import Share
from tests.support.cards import CARD
from tests.support.judged_pairs import judged
from tests.support.known_rewards import KnowsRewards, holdout, model
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards, score_pairs
from trainer.people.judgements import judgements_of
from trainer.reporting.figures import (
    confidences,
    history,
    length_matched,
    prequential,
    prompts_known_to,
    reliability,
    reward_and_length,
    suggestions,
)


def pairs_of_lengths(*lengths: tuple[int, int]) -> list[PreferencePair]:
    return [PreferencePair(f"prompt {i}", "c" * chosen, "r" * rejected) for i, (chosen, rejected) in enumerate(lengths)]


# Reliability


def test_a_model_that_is_as_right_as_it_is_sure_has_hardly_a_calibration_error() -> None:
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0.5, 1, 4000)

    curve = reliability(confidence, (chance.uniform(size=4000) < confidence).astype(float))

    assert curve is not None
    assert curve.calibration_error is not None and curve.calibration_error < 0.02
    assert [row.count for row in curve.bins] == [400] * 10


def test_the_calibration_error_is_the_mean_distance_over_the_pairs() -> None:
    """Two bins of ten: .6 sure and .8 right, .9 sure and .5 right."""
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 8 + [0.0] * 2)

    curve = reliability(confidence, right)

    assert curve is not None
    assert curve.calibration_error == 0.3
    assert [(row.confidence, row.value, row.count) for row in curve.bins] == [(0.6, 0.8, 10), (0.9, 0.5, 10)]
    low, high = curve.bins[0].interval or (1, 0)
    assert low < 0.8 < high


def test_nineteen_pairs_are_too_few_for_a_reliability_diagram() -> None:
    assert reliability(np.full(19, 0.7), np.ones(19)) is None
    assert reliability(np.full(20, 0.7), np.ones(20)) is not None


def test_confidence_is_the_models_own() -> None:
    pairs = holdout(3, num_longer=1)
    challenger = model(pairs, right=[0, 1])

    sure = confidences(challenger, score_pairs(challenger, pairs))

    assert sure.tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 3)


# Length


def test_reward_that_is_length_goes_with_length() -> None:
    pairs = pairs_of_lengths(*((10 + i, 30 + 2 * i) for i in range(10)))
    answers = [[pair.chosen, pair.rejected] for pair in pairs]
    chosen, rejected = np.array([[math.log1p(len(text)) for text in both] for both in answers], np.float64).T
    rewards = Rewards(chosen, rejected)

    figures = reward_and_length(pairs, rewards)

    assert figures is not None
    assert (figures.spearman, figures.pearson, figures.spearman_within) == (1.0, 1.0, 1.0)
    assert (figures.model_prefers_longer, figures.people_prefer_longer) == (share([1.0] * 10), share([0.0] * 10))
    assert figures.points[:2] == ((10, 2.3979, 1), (30, 3.434, 0))


def test_the_points_are_bounded_and_the_same_each_time() -> None:
    pairs = pairs_of_lengths(*((10 + i, 20 + i) for i in range(3000)))
    rewards = Rewards(np.array([float(i) for i in range(3000)]), np.zeros(3000))

    first, second = (reward_and_length(pairs, rewards) for _ in range(2))

    assert first is not None and first == second
    assert len(first.points) == 400
    assert [first.points[0][0], first.points[-2][0]] == [10, 3009], "from the first pair to the last"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rewards_that_are_no_numbers_have_no_correlation(value: float) -> None:
    pairs = pairs_of_lengths(*((10 + i, 20) for i in range(10)))

    assert reward_and_length(pairs, Rewards(np.full(10, value), np.zeros(10))) is None


def test_rewards_that_never_change_have_no_correlation() -> None:
    pairs = pairs_of_lengths(*((10 + i, 25) for i in range(10)))

    figures = reward_and_length(pairs, Rewards(np.ones(10), np.ones(10)))

    assert figures is not None
    assert (figures.spearman, figures.pearson, figures.spearman_within) == (None, None, None)
    assert figures.model_prefers_longer == share([0.5] * 10)


def test_a_few_pairs_have_no_correlation() -> None:
    assert reward_and_length(pairs_of_lengths(*[(1, 2)] * 7), Rewards(np.ones(7), np.zeros(7))) is None


def test_length_matched_pairs_differ_by_a_tenth_at_most() -> None:
    pairs = pairs_of_lengths(*[(100, 90)] * 5, *[(90, 100)] * 5, *[(100, 89)] * 7, *[(200, 100)] * 7)
    right = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 14)

    accuracy = length_matched(pairs, right)

    assert (accuracy.value, accuracy.count) == (0.5, 10)
    assert length_matched(pairs[:7], right[:7]) == Share(count=7)


# Suggestions


def test_agreement_with_suggestions_is_counted_by_version() -> None:
    first = judged((1, 1, "left"), (2, 1, "right"), suggested_side="left", suggested_version="v1")
    second = judged((3, 1, "left"), (4, 1, "tie"), suggested_side="left", suggested_version="v2")
    blind = judged((5, 1, "left"), (6, 1, "right"), (7, 1, "right"))
    pairs = [dataclasses.replace(pair, annotation_id=pair.task_id) for pair in (*first, *second, *blind)]

    followed = suggestions(judgements_of(pairs))

    assert followed is not None
    assert (followed.value, followed.count, followed.num_without) == (0.5, 4, 3)
    assert {version: row.value for version, row in followed.versions.items()} == {"v1": 0.5, "v2": 0.5}


def test_of_a_version_that_lights_sides_those_alone_are_suggestions() -> None:
    lit = judged((1, 1, "left"), (2, 1, "left"), suggested_side="left", suggested_version="v1")
    unlit = judged((3, 1, "right"), (4, 1, "right"), suggested_side="left", suggested_version="v1")
    pairs = [dataclasses.replace(pair, annotation_id=pair.task_id, is_lit=pair in lit) for pair in (*lit, *unlit)]

    followed = suggestions(judgements_of(pairs))

    assert followed is not None and (followed.value, followed.count, followed.num_without) == (1.0, 2, 2)


def test_without_a_suggestion_there_is_no_agreement_with_one() -> None:
    assert suggestions(judgements_of(judged((1, 1, "left")))) is None
    assert suggestions([]) is None


# Versions


def judged_at(pairs: Sequence[PreferencePair], *times: str | None) -> list[PreferencePair]:
    return [dataclasses.replace(pair, judged_at=at) for pair, at in zip(pairs, times, strict=True)]


def test_a_champion_is_measured_on_later_votes() -> None:
    before, after = "2026-10-31T23:59:59.999999Z", "2026-11-01T00:00:00.000001Z"
    pairs = judged_at(holdout(20, num_longer=10), *[before] * 5, *[after] * 10, *[None] * 2, "yesterday", "2026-11-02", after)
    pairs[-1] = dataclasses.replace(pairs[-1], kind="tie", weight=0.5)
    champion = model(pairs, right=[*range(12), 18])  # of numbers 5 to 14 and 18, eight

    accuracy = prequential(pairs, champion, CARD)

    assert accuracy is not None
    assert (accuracy.version, accuracy.count, accuracy.value) == (CARD.version, 11, round(8 / 11, 4))
    assert champion.num_scored == 22, "only later judgements are scored"


@pytest.mark.parametrize("clock", ["2026-11-01T00:10:00Z", "2026-10-31T23:50:00Z"], ids=["trainer slow", "trainer fast"])
def test_what_a_version_read_is_known_whatever_the_clocks_say(clock: str) -> None:
    pairs = [
        dataclasses.replace(pair, annotation_id=n) for n, pair in enumerate(judged_at(holdout(20, num_longer=10), *[clock] * 20))
    ]
    card = dataclasses.replace(CARD, newest_annotation=11)

    accuracy = prequential(pairs, model(pairs, right=range(16)), card)

    assert accuracy is not None
    assert (accuracy.count, accuracy.value) == (8, 0.5)
    assert prequential(pairs[:12], model(pairs, right=range(16)), card) is None


def test_what_a_killed_round_was_judged_by_when_it_was_taken_up_is_known_though_it_did_not_train_on_it() -> None:
    pairs = [dataclasses.replace(pair, annotation_id=n) for n, pair in enumerate(holdout(20, num_longer=10))]
    card = dataclasses.replace(CARD, newest_annotation=11, judged_until=14)

    assert prompts_known_to(card, pairs) == {normalised(pair.question) for pair in pairs[:15]}


def test_a_prompt_that_was_judged_before_does_not_count_as_later() -> None:
    early, late = holdout(10, num_longer=5), holdout(10, num_longer=5)
    pairs = judged_at([*early, *late], *["2026-10-01T00:00:00Z"] * 10, *["2026-11-05T00:00:00Z"] * 10)

    assert prequential(pairs, model(pairs, right=range(20)), CARD) is None
    as_ties = [dataclasses.replace(pair, kind="tie", prompt=f" {transcript(pair.prompt).upper()}") for pair in pairs[:10]]
    assert prequential([*as_ties, *pairs[10:]], model(pairs, right=range(20)), CARD) is None
    goes_on = [
        dataclasses.replace(p, prompt=(*turns_of(p.prompt), Turn("assistant", "So."), Turn("user", "And?"))) for p in pairs[:10]
    ]
    assert prequential([*goes_on, *pairs[10:]], model(pairs, right=range(20)), CARD) is None, "it begins with the same question"


def test_a_few_later_votes_have_a_count_and_no_accuracy() -> None:
    pairs = judged_at(holdout(3, num_longer=1), *["2026-11-05T00:00:00Z"] * 3)

    assert prequential(pairs, model(pairs, right=range(3)), CARD) == LaterAccuracy(version=CARD.version, count=3)


def test_without_a_time_of_its_own_a_champion_has_no_later_votes() -> None:
    pairs = judged_at(holdout(9, num_longer=1), *["2026-11-05T00:00:00Z"] * 9)

    assert prequential(pairs, KnowsRewards({}), dataclasses.replace(CARD, created_at="")) is None


def test_the_history_is_in_order_and_holds_the_last_word_on_each_version() -> None:
    names = [f"v{n}-2026110{n}-000000" for n in (1, 2, 3)]

    def later(version: str, value: float | None) -> LaterAccuracy:
        return LaterAccuracy(value, count=9, version=version)

    cards = [
        dataclasses.replace(CARD, version=name, created_at=f"2026-11-0{n}T00:00:00+00:00", report=report)
        for n, name, report in (
            (3, names[2], ReportFigures(prequential=later(names[0], 0.7))),
            (1, names[0], ReportFigures()),
            (2, names[1], ReportFigures(prequential=later(names[0], 0.6))),
        )
    ]

    rows = history(cards, later(names[1], 0.8))

    assert [row.version for row in rows] == names
    assert [row.prequential and row.prequential.value for row in rows] == [0.7, 0.8, None]
    assert [row.accuracy for row in rows] == [0.75] * 3
    (first, *_) = history(cards, later(names[0], None))
    assert first.prequential == later(names[0], 0.7), "too few data do not overwrite a figure"


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"accuracy": None, "interval": None},
        {"accuracy": "high", "interval": [0.5]},
        {"accuracy": math.nan, "interval": "x"},
        [],
    ],
)
def test_a_card_that_is_odd_among_the_earlier_ones_has_gaps_and_stops_nothing(metrics: Any) -> None:
    odd = ReportCard.from_values({**CARD.to_values(), "metrics": metrics, "report": {"prequential": ["?"]}})

    (row,) = history([odd], None)

    assert (row.accuracy, row.interval, row.style_only, row.prequential) == (None, None, None, None)
    json.dumps(dataclasses.asdict(row), allow_nan=False)


def test_the_history_is_bounded() -> None:
    cards = [dataclasses.replace(CARD, version=f"v{n}", created_at=f"{1000 + n}") for n in range(120)]

    assert [row.version for row in history(cards, None)] == [f"v{n}" for n in range(70, 120)]
