import numpy as np
import pytest

from preference.report_card.shares import Share
from trainer.duels.prediction_powered import powered_share
from trainer.evaluation.intervals import Array, share

NUM_TRIALS = 400


def drawn(chance: np.random.Generator, count: int, *, noise: float = 0.5) -> tuple[Array, Array]:
    """(what people say of so many duels, what a model guesses that is too sure and leans to one side)."""
    truth = chance.normal(0.3, 2, count)
    outcomes = (chance.random(count) < 1 / (1 + np.exp(-truth))).astype(float)
    return outcomes, 1 / (1 + np.exp(-(1.3 * truth + 0.4 + chance.normal(0, noise, count))))


def simulated(*, num_judged: int, num_open: int, noise: float) -> tuple[Array, Array]:
    """(how often the interval of people alone holds the true share, and that of both; how wide they are on average)."""
    chance = np.random.default_rng(0)
    true_share = drawn(chance, 400_000)[0].mean()
    rows = []
    for _ in range(NUM_TRIALS):
        outcomes, guesses = drawn(chance, num_judged + num_open, noise=noise)
        plain = share(outcomes[:num_judged])
        powered = powered_share(outcomes[:num_judged], guesses[:num_judged], guesses[num_judged:])
        ends = np.array([interval for known in (plain, powered) if (interval := known.interval)])
        rows.append((ends[:, 0] <= true_share) & (true_share <= ends[:, 1]))
        rows.append(ends[:, 1] - ends[:, 0])
    table = np.array(rows, dtype=float)
    return table[::2].mean(axis=0), table[1::2].mean(axis=0)


def test_both_intervals_hold_the_truth_as_often_as_they_say_and_a_good_model_makes_it_narrower() -> None:
    coverage, width = simulated(num_judged=40, num_open=200, noise=0.5)

    assert (coverage > 0.92).all() and (coverage < 0.98).all()
    assert width[1] < 0.93 * width[0]


def test_a_model_that_knows_nothing_does_little_harm() -> None:
    coverage, width = simulated(num_judged=40, num_open=200, noise=50)

    assert (coverage > 0.92).all()
    assert width[1] < 1.1 * width[0]


def test_it_is_what_the_authors_own_library_says() -> None:
    """ppi-python 0.2.3: .4823 (.3351 to .6295) by the normal distribution's quantile; ours is Student's, a few per cent wider."""
    chance = np.random.default_rng(3)
    truth = chance.normal(0, 1.5, 240)
    outcomes = (chance.random(240) < 1 / (1 + np.exp(-truth))).astype(float)
    guesses = 1 / (1 + np.exp(-(1.3 * truth + 0.4 + chance.normal(0, 0.5, 240))))

    found = powered_share(outcomes[:40], guesses[:40], guesses[40:])

    assert found.value == pytest.approx(0.4823, abs=0.001) and found.count == 240
    assert found.interval == pytest.approx((0.3351, 0.6295), abs=0.01)


def test_equal_guesses_leave_it_to_people() -> None:
    outcomes, guesses = np.array([1.0, 0.0, 1.0, 0.5] * 10), np.full(40, 0.7)

    assert powered_share(outcomes, guesses, guesses).value == share(outcomes).value


def test_people_of_one_mind_leave_no_interval_outside_of_0_and_1() -> None:
    ones, guesses = np.ones(30), np.linspace(0.2, 0.9, 30)

    assert powered_share(ones, guesses, guesses + 0.05) == Share(1.0, (1.0, 1.0), 60)
