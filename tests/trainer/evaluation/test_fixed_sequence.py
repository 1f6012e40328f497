"""The promise of a certificate, kept over simulated projects in which somebody asks after every 25 votes; beside it, what would break it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta

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


def anytime(counts: Counts, start: float) -> float | None:
    return certified_from(counts, target=TARGET, error=ERROR, start=start)


def exact(counts: Counts, start: float) -> float | None:
    """The same sequence with the bounds of one look (Clopper and Pearson 1934, Biometrika 26)."""
    place, found = THRESHOLDS.index(start), None
    others = counts.votes - counts.agreeing
    while place >= 0 and counts.agreeing[place] and beta.ppf(1 - CONFIDENCE, counts.agreeing[place], others[place] + 1) >= TARGET:
        found, place = THRESHOLDS[place], place - 1
    return found


def looked_at(chance: np.random.Generator, right: Agreement) -> tuple[list[Counts], float]:
    """What one project has voted at each look, and where its sequence starts."""
    sure, start = confidences(chance, LOOKS[-1]), start_of(confidences(chance, 400), target=TARGET)
    agrees = (chance.random(len(sure)) < right(sure)).astype(float)
    return [Counts.of(sure[:count], agrees[:count]) for count in LOOKS], start


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
        every = [found for counts in looks if (found := anytime(counts, start)) is not None]
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
    num_false, num_of_anytime = (sum(first(rule, *project) is not None for project in projects) for rule in (exact, anytime))
    assert num_false > 1.5 * 200 * (1 - CONFIDENCE) and num_of_anytime <= 200 * (1 - CONFIDENCE)


def test_what_it_costs_to_ask_at_any_time() -> None:
    """Beside exact bounds at one moment, that was chosen before the first vote: docs/certify.md has these shares."""
    right = RIGHT["as often as it says"]
    chance = np.random.default_rng(19)
    _, coverage = truth_of(chance, right)
    projects = [looked_at(chance, right) for _ in range(200)]
    for count, at_any_time, at_one in ((100, 0.07, 0.28), (200, 0.2, 0.47), (300, 0.31, 0.56)):
        for rule, share in ((anytime, at_any_time), (exact, at_one)):
            found = [rule(looks[LOOKS.index(count)], start) for looks, start in projects]
            mean = np.mean([coverage[THRESHOLDS.index(threshold)] if threshold else 0.0 for threshold in found])
            assert mean == pytest.approx(share, abs=0.05), (count, rule)


def test_the_lowest_threshold_whose_bound_is_high_enough_would_break_the_promise() -> None:
    chance, num_false = np.random.default_rng(20), 0
    for _ in range(200):
        looks, _ = looked_at(chance, RIGHT["just below the target everywhere"])
        num_false += any((lower_bounds(counts, error=1 - CONFIDENCE) >= TARGET).any() for counts in looks[3::4])
    assert num_false > 0.1 * 200


def test_the_errors_of_all_beginnings_add_up_to_what_is_allowed() -> None:
    errors = [error_of(beginning, confidence=0.9) for beginning in range(1, 20)]
    assert errors[:3] == pytest.approx([0.09, 0.009, 0.0009])
    assert sum(errors) == pytest.approx(0.1)


def test_no_vote_certifies_nothing_and_the_least_number_certifies_if_all_agree() -> None:
    least = least_votes(target=TARGET, error=ERROR)
    assert least == 17
    for count, found in ((0, None), (least - 1, None), (least, 0.9)):
        counts = Counts.of(np.full(count, 0.905), np.ones(count))
        assert certified_from(counts, target=TARGET, error=ERROR, start=0.9) == found


def test_a_bound_is_the_share_that_the_bet_just_refutes_and_lower_than_the_one_of_a_single_look() -> None:
    counts = Counts.of(np.full(20, 0.7), np.array([1.0] * 17 + [0.0] * 3))
    bound = lower_bounds(counts, error=0.05)[0]
    assert 0.5 < bound < 0.6563  # R: binom.test(17, 20, alternative="greater")
    for target, found in ((bound - 1e-6, 0.7), (bound + 1e-6, None)):
        assert certified_from(counts, target=target, error=0.05, start=0.7) == found
    assert lower_bounds(counts, error=0.05)[-1] == 0.0


def test_it_goes_down_until_a_threshold_fails_and_no_further() -> None:
    """Above .75 people always agree, from .7 to .75 they never do, and below .6 always: what lies behind the gap is not reached."""
    sure = np.concatenate([np.full(60, 0.9), np.full(40, 0.72), np.full(400, 0.55)])
    counts = Counts.of(sure, np.concatenate([np.ones(60), np.zeros(40), np.ones(400)]))
    assert lower_bounds(counts, error=0.05)[THRESHOLDS.index(0.55)] >= TARGET
    assert certified_from(counts, target=TARGET, error=0.05, start=0.9) == 0.9


def test_it_starts_where_a_model_that_is_as_right_as_it_says_would_need_the_fewest_votes() -> None:
    every = confidences(np.random.default_rng(21), 10_000)
    assert 0.85 <= start_of(every, target=TARGET) <= 0.92
    assert start_of(every, target=TARGET) < start_of(every, target=0.9)
    assert start_of(np.array([0.97] * 9 + [0.6]), target=TARGET) == 0.97
    assert start_of(np.array([0.6, 0.7]), target=TARGET) == 0.5  # nowhere as sure as the target: all tasks first
    assert (start_of(np.zeros(0), target=0.8), start_of(np.zeros(0), target=0.99)) == (0.9, 0.99)
