"""The promise of a certificate, kept over simulated projects; beside them, what would break it."""

from collections.abc import Callable

import numpy as np
import pytest

from trainer.evaluation.fixed_sequence import THRESHOLDS, Counts, certified_from, error_of, least_votes, lower_bounds
from trainer.evaluation.intervals import Array

TARGET, CONFIDENCE = 0.8, 0.9
NUM_PROJECTS = 1000
LOOKS = (40, 80, 150, 300)  # blind judgements when somebody asks
Agreement = Callable[[Array], Array]

# How often people choose the model's side, by its confidence.
RIGHT: dict[str, Agreement] = {
    "just below the target everywhere": lambda sure: np.full_like(sure, 0.799),
    "as often as it says": lambda sure: sure,
    "less often than it says": lambda sure: 0.5 + 0.7 * (sure - 0.5),
    "seldom if it is surest": lambda sure: np.where(sure > 0.9, 0.78, sure),
}


def judged(chance: np.random.Generator, right: Agreement) -> tuple[Array, Array]:
    """(how sure the model is of each task that is judged, whether people agree there), of one project."""
    sure = 0.5 + 0.5 * chance.beta(1.2, 1.2, LOOKS[-1])
    return sure, (chance.random(len(sure)) < right(sure)).astype(float)


def true_agreement(chance: np.random.Generator, right: Agreement) -> Array:
    """(num_thresholds,) how often people agree on all tasks above each threshold."""
    every = 0.5 + 0.5 * chance.beta(1.2, 1.2, 100_000)
    return np.array([right(every[every >= threshold]).mean() for threshold in THRESHOLDS])


@pytest.mark.parametrize("name", RIGHT)
def test_over_a_thousand_projects_that_ask_again_and_again_at_most_a_tenth_are_promised_too_much(name: str) -> None:
    chance, num_false, num_certified = np.random.default_rng(17), 0, 0
    truth = true_agreement(chance, RIGHT[name])
    for _ in range(NUM_PROJECTS):
        sure, agrees = judged(chance, RIGHT[name])
        found = []
        for look, count in enumerate(LOOKS, start=1):
            counts = Counts.of(sure[:count], agrees[:count])
            found.append(certified_from(counts, target=TARGET, error=error_of(look, confidence=CONFIDENCE)))
        given = [THRESHOLDS.index(threshold) for threshold in found if threshold is not None]
        num_certified += bool(given)
        num_false += any(truth[place] < TARGET for place in given)
    assert num_false <= NUM_PROJECTS * (1 - CONFIDENCE)
    if name == "as often as it says":
        assert num_certified > 0.6 * NUM_PROJECTS  # a rule that never certifies keeps every promise


def test_two_shorter_rules_would_break_the_promise() -> None:
    """The lowest threshold whose bound is high enough, without a sequence; and the sequence with all of the error at each look."""
    right = RIGHT["just below the target everywhere"]
    chance, lowest, asked_again = np.random.default_rng(18), 0, 0
    for _ in range(300):
        sure, agrees = judged(chance, right)
        lowest += bool((lower_bounds(Counts.of(sure, agrees), error=1 - CONFIDENCE) >= TARGET).any())
        looks = (Counts.of(sure[:count], agrees[:count]) for count in LOOKS)
        asked_again += any(certified_from(counts, target=TARGET, error=1 - CONFIDENCE) is not None for counts in looks)
    assert lowest > 0.3 * 300 and asked_again > 0.15 * 300


def test_whoever_chooses_the_moment_by_how_the_votes_went_breaks_the_promise() -> None:
    """The first look has half of the error; at the best moment between 20 and 200 votes it takes more than all."""
    right = RIGHT["just below the target everywhere"]
    chance, num_false, error = np.random.default_rng(19), 0, error_of(1, confidence=CONFIDENCE)
    for _ in range(150):
        sure, agrees = judged(chance, right)
        moments = (Counts.of(sure[:count], agrees[:count]) for count in range(20, 201, 5))
        num_false += any(certified_from(counts, target=TARGET, error=error) is not None for counts in moments)
    assert num_false > 150 * (1 - CONFIDENCE)


def test_the_errors_of_all_looks_add_up_to_what_is_allowed() -> None:
    errors = [error_of(look, confidence=0.9) for look in range(1, 2000)]
    assert errors[:3] == pytest.approx([0.05, 0.1 / 6, 0.1 / 12])
    assert 0.0999 < sum(errors) < 0.1


def test_no_vote_certifies_nothing_and_the_least_number_certifies_if_all_agree() -> None:
    least = least_votes(target=TARGET, error=0.05)
    assert least == 14
    for count, found in ((0, None), (least - 1, None), (least, 0.9)):
        counts = Counts.of(np.full(count, 0.905), np.ones(count))
        assert certified_from(counts, target=TARGET, error=0.05) == found


def test_bounds_are_clopper_and_pearsons() -> None:
    counts = Counts.of(np.full(20, 0.7), np.array([1.0] * 17 + [0.0] * 3))
    assert lower_bounds(counts, error=0.05)[0] == pytest.approx(0.6563, abs=1e-4)  # R: binom.test(17, 20, alternative="greater")
    assert lower_bounds(counts, error=0.05)[-1] == 0.0


def test_it_goes_down_until_a_threshold_fails_and_no_further() -> None:
    """Above .75 people always agree, from .7 to .75 they never do, and below .6 always: what lies behind the gap is not reached."""
    sure = np.concatenate([np.full(60, 0.9), np.full(40, 0.72), np.full(400, 0.55)])
    agrees = np.concatenate([np.ones(60), np.zeros(40), np.ones(400)])
    counts = Counts.of(sure, agrees)
    assert lower_bounds(counts, error=0.05)[THRESHOLDS.index(0.55)] >= TARGET
    assert certified_from(counts, target=TARGET, error=0.05) == 0.9
