"""The promise of a certificate, kept over simulated projects in which somebody asks after every 25 votes; beside it, what would break it.

The test looks at these moments only, so whoever asks more often sees the same.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta, binom

from trainer.evaluation.betting import log_bet
from trainer.evaluation.fixed_sequence import THRESHOLDS, Counts, certified_from, error_of, least_votes, lower_bounds, start_of
from trainer.evaluation.intervals import Array

TARGET, CONFIDENCE = 0.8, 0.9
ERROR = error_of(1, confidence=CONFIDENCE)
LOOKS = range(25, 301, 25)  # blind judgements when somebody asks
Agreement = Callable[[Array], Array]
Rule = Callable[[Counts, float], float | None]

# How often people choose the model's side, by its confidence.
RIGHT: dict[str, Agreement] = {
    "just below the target everywhere": lambda sure: np.full_like(sure, 0.799),
    "as often as it says": lambda sure: sure,
    "less often than it says": lambda sure: 0.5 + 0.7 * (sure - 0.5),
    "seldom if it is surest": lambda sure: np.where(sure > 0.9, 0.78, sure),
}


def confidences(chance: np.random.Generator, count: int) -> Array:
    return 0.5 + 0.5 * chance.beta(1.2, 1.2, count)


def truth_of(chance: np.random.Generator, right: Agreement) -> tuple[Array, Array]:
    """(num_thresholds,) how often people agree on all tasks above each threshold, and what share of the tasks that is."""
    every = confidences(chance, 100_000)
    above = [every >= threshold for threshold in THRESHOLDS]
    return np.array([right(every[rows]).mean() for rows in above]), np.array([rows.mean() for rows in above])


def planned(counts: Counts, start: float) -> float | None:
    return now(counts, target=TARGET, error=ERROR, start=start)


def now(counts: Counts, *, target: float, error: float, start: float) -> float | None:
    """What is certified at the last moment."""
    return next(reversed(certified_from(counts, target=target, error=error, start=start)), None)


def down(start: float, *, is_refuted: Callable[[int], bool]) -> float | None:
    place, found = THRESHOLDS.index(start), None
    while place >= 0 and is_refuted(place):
        found, place = THRESHOLDS[place], place - 1
    return found


def exact(counts: Counts, start: float) -> float | None:
    """The same sequence with the bounds of one look (Clopper and Pearson 1934, Biometrika 26)."""
    votes, agreeing = counts.votes[-1], counts.agreeing[-1]

    def is_refuted(place: int) -> bool:
        return bool(agreeing[place]) and beta.ppf(1 - CONFIDENCE, agreeing[place], votes[place] - agreeing[place] + 1) >= TARGET

    return down(start, is_refuted=is_refuted)


def bet(counts: Counts, start: float) -> float | None:
    """The same sequence with a test that may be looked at after each vote (Howard et al. 2021)."""
    won = log_bet(counts.agreeing[-1], counts.votes[-1] - counts.agreeing[-1], bound=TARGET) >= -np.log(ERROR)
    return down(start, is_refuted=lambda place: bool(won[place]))


def looked_at(chance: np.random.Generator, right: Agreement) -> tuple[list[Counts], float]:
    """What one project has voted at each look, and where its sequence starts."""
    sure, start = confidences(chance, LOOKS[-1]), start_of(confidences(chance, 400), target=TARGET)
    agrees = (chance.random(len(sure)) < right(sure)).astype(float)
    every = Counts.of(sure, agrees)
    looks = [
        Counts(every.votes[:k], every.agreeing[:k], every.agreeing[k - 1] / np.maximum(every.votes[k - 1], 1))
        for k in range(1, len(every) + 1)
    ]
    return looks, start


def first(rule: Rule, looks: list[Counts], start: float) -> float | None:
    """The certificate of somebody who stops at the first one."""
    return next((found for counts in looks if (found := rule(counts, start)) is not None), None)


@pytest.mark.parametrize("name", RIGHT)
def test_over_a_thousand_projects_that_ask_after_every_25_votes_at_most_a_tenth_are_promised_too_much(name: str) -> None:
    chance = np.random.default_rng(17)
    truth, _ = truth_of(chance, RIGHT[name])
    num_false = num_first_false = num_certified = 0
    for _ in range(1000):
        looks, start = looked_at(chance, RIGHT[name])
        every = [found for counts in looks if (found := planned(counts, start)) is not None]
        is_false = [bool(truth[THRESHOLDS.index(found)] < TARGET) for found in every]
        num_first_false += is_false[:1] == [True]
        num_false += any(is_false)
        num_certified += bool(every)
    assert num_first_false <= num_false <= 1000 * (1 - CONFIDENCE)
    if name == "as often as it says":
        assert num_certified > 750  # a rule that never certifies keeps every promise


def test_the_bounds_of_one_look_break_the_promise_for_whoever_stops_at_the_first_success() -> None:
    right = RIGHT["just below the target everywhere"]
    chance = np.random.default_rng(18)
    projects = [looked_at(chance, right) for _ in range(200)]
    num_false, num_of_planned = (sum(first(rule, *project) is not None for project in projects) for rule in (exact, planned))
    assert num_false > 1.5 * 200 * (1 - CONFIDENCE) and num_of_planned <= 200 * (1 - CONFIDENCE)


def test_what_it_costs_that_somebody_may_ask_whenever_they_like() -> None:
    """Beside exact bounds at one moment, that was chosen before the first vote, and bets: docs/certify.md has these shares."""
    right = RIGHT["as often as it says"]
    chance = np.random.default_rng(19)
    _, coverage = truth_of(chance, right)
    projects = [looked_at(chance, right) for _ in range(200)]
    for count, *shares in ((100, 0.19, 0.28, 0.07), (200, 0.37, 0.48, 0.2), (300, 0.45, 0.56, 0.33)):
        for rule, share in zip((planned, exact, bet), shares, strict=True):
            found = [rule(looks[LOOKS.index(count)], start) for looks, start in projects]
            mean = np.mean([coverage[THRESHOLDS.index(threshold)] if threshold else 0.0 for threshold in found])
            assert mean == pytest.approx(share, abs=0.05), (count, rule)


def test_the_lowest_threshold_whose_bound_is_high_enough_would_break_the_promise() -> None:
    chance, num_false = np.random.default_rng(20), 0
    for _ in range(200):
        looks, _ = looked_at(chance, RIGHT["just below the target everywhere"])
        num_false += any(
            now(counts, target=TARGET, error=1 - CONFIDENCE, start=threshold) is not None
            for counts in looks[3::4]
            for threshold in THRESHOLDS
        )
    assert num_false > 0.1 * 200


def test_the_votes_until_a_look_are_the_first_ones_of_all() -> None:
    chance = np.random.default_rng(24)
    sure = confidences(chance, LOOKS[-1])
    agrees = (chance.random(len(sure)) < sure).astype(float)
    every, early = Counts.of(sure, agrees), Counts.of(sure[: LOOKS[4]], agrees[: LOOKS[4]])
    assert (early.votes == every.votes[:5]).all() and (early.agreeing == every.agreeing[:5]).all()
    assert early.agreement == pytest.approx(every.agreeing[4] / np.maximum(every.votes[4], 1))


def test_the_errors_of_all_beginnings_add_up_to_what_is_allowed() -> None:
    errors = [error_of(beginning, confidence=0.9) for beginning in range(1, 20)]
    assert errors[:3] == pytest.approx([0.09, 0.009, 0.0009])
    assert sum(errors) == pytest.approx(0.1)


def test_no_vote_certifies_nothing_and_the_least_number_certifies_if_all_agree() -> None:
    assert [least_votes(target=target, error=ERROR) for target in (TARGET, 0.9, 0.95)] == [25, 50, 75]
    for count, found in ((0, None), (24, None), (25, 0.9), (26, 0.9)):
        counts = Counts.of(np.full(count, 0.905), np.ones(count))
        assert now(counts, target=TARGET, error=ERROR, start=0.9) == found


def test_the_first_moment_may_spend_half_of_the_error_and_the_next_two_thirds_of_it_at_most() -> None:
    """Each at the exact binomial probability, found again here by drawing votes at the target."""
    sure, refuted = np.full(50, 0.9), np.zeros(2)
    least = int(binom.isf(0.05, 25, TARGET)) + 1
    for agreeing, found in ((least, 0.9), (least - 1, None)):
        counts = Counts.of(sure[:25], (np.arange(25) < agreeing).astype(float))
        assert now(counts, target=TARGET, error=0.1, start=0.9) == found
    chance = np.random.default_rng(22)
    for _ in range(3000):
        certified = certified_from(
            Counts.of(sure, (chance.random(50) < TARGET).astype(float)), target=TARGET, error=0.1, start=0.9
        )
        refuted += [certified[0] is not None, any(certified)]
    assert refuted[0] / 3000 == pytest.approx(binom.sf(least - 1, 25, TARGET), abs=0.01)
    assert refuted[0] / 3000 < refuted[1] / 3000 < 0.1 * 2 / 3 + 0.01


def test_a_bound_is_the_share_that_is_just_refuted_and_lower_than_the_one_of_a_single_look() -> None:
    counts = Counts.of(np.full(25, 0.7), (np.arange(25) % 8 > 0).astype(float))  # 21 agree
    bound = lower_bounds(counts, error=0.05)[0]
    assert 0.5 < bound < 0.6700  # R: binom.test(21, 25, alternative="greater")
    for target, found in ((bound - 1e-3, 0.7), (bound + 1e-3, None)):
        assert now(counts, target=target, error=0.05, start=0.7) == found
    assert lower_bounds(counts, error=0.05)[-1] == 0.0


def test_it_goes_down_until_a_threshold_fails_and_no_further() -> None:
    """Above .75 people always agree, from .7 to .75 they never do, and below .6 always: what lies behind the gap is not reached."""
    sure = np.concatenate([np.full(60, 0.9), np.full(40, 0.72), np.full(400, 0.55)])
    mixed = np.random.default_rng(23).permutation(len(sure))
    counts = Counts.of(sure[mixed], np.concatenate([np.ones(60), np.zeros(40), np.ones(400)])[mixed])
    assert lower_bounds(counts, error=0.05)[THRESHOLDS.index(0.55)] >= TARGET
    assert now(counts, target=TARGET, error=0.05, start=0.9) == 0.9


def test_what_was_known_is_certified_no_more_once_all_votes_say_the_opposite() -> None:
    early, late = np.ones(25), np.zeros(20)
    sure = np.full(45, 0.9)
    assert now(Counts.of(sure[:25], early), target=TARGET, error=0.05, start=0.9) == 0.9
    assert now(Counts.of(sure, np.append(early, late)), target=TARGET, error=0.05, start=0.9) is None


def test_moments_to_come_go_on_as_the_votes_until_now() -> None:
    counts = Counts.of(np.full(30, 0.9), (np.arange(30) < 24).astype(float), more=45)
    assert counts.votes[:, 0].tolist() == [25, 50, 75] and counts.agreeing[:, 0].tolist() == [24, 40, 60]


def test_it_starts_where_a_model_that_is_as_right_as_it_says_would_need_the_fewest_votes() -> None:
    every = confidences(np.random.default_rng(21), 10_000)
    assert 0.85 <= start_of(every, target=TARGET) <= 0.92
    assert start_of(every, target=TARGET) < start_of(every, target=0.9)
    assert start_of(np.array([0.97] * 9 + [0.6]), target=TARGET) == 0.97
    assert start_of(np.array([0.6, 0.7]), target=TARGET) == 0.5  # nowhere as sure as the target: all tasks first
    assert (start_of(np.zeros(0), target=0.8), start_of(np.zeros(0), target=0.99)) == (0.9, 0.99)
