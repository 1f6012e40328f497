import numpy as np
import pytest

from trainer.evaluation.length_control import Contests, win_rates


def drawn(*, quality: float, longer: float, num_prompts: int = 200, length_effect: float = 1.5, seed: int = 0) -> Contests:
    """Two answers of each writer to each prompt, judged by quality and by length.

    `longer`: letters by which the first writer's answers are longer, on average.
    """
    chance = np.random.default_rng(seed)
    lengths = chance.normal(300, 80, (num_prompts, 4)) + np.array([longer, longer, 0, 0])
    outcomes, differences, between, prompts = [], [], [], []
    for prompt in range(num_prompts):
        for first, second in ((0, 2), (1, 3), (0, 1), (2, 3)):
            is_between = first < 2 <= second
            difference = lengths[prompt, first] - lengths[prompt, second]
            logit = quality * is_between + length_effect * np.tanh(difference / 110)
            outcomes.append(float(chance.random() < 1 / (1 + np.exp(-logit))))
            differences.append(difference)
            between.append(is_between)
            prompts.append(prompt)
    return Contests(np.array(outcomes), np.array(differences), np.array(between), np.array(prompts))


def test_who_is_only_longer_wins_no_more_than_half_at_equal_length() -> None:
    plain, controlled = win_rates(drawn(quality=0, longer=150))

    assert plain.interval is not None and plain.interval[0] > 0.6
    assert controlled.value == pytest.approx(0.5, abs=0.08)
    assert controlled.interval is not None and controlled.interval[0] < 0.5 < controlled.interval[1]


def test_who_is_better_wins_at_any_length() -> None:
    for longer in (-100, 0, 100):
        _, controlled = win_rates(drawn(quality=1.0, longer=longer))

        assert controlled.value == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.08)
        assert controlled.interval is not None and controlled.interval[0] > 0.55


def test_without_a_difference_of_lengths_both_rates_agree() -> None:
    made = drawn(quality=0.8, longer=0, length_effect=0)
    plain, controlled = win_rates(Contests(made.outcomes, np.zeros(len(made.lengths)), made.is_between, made.prompts))

    assert controlled.value == pytest.approx(plain.value, abs=0.01)
    assert (plain.count, controlled.count) == (200, 200)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    intervals = [win_rates(drawn(quality=0.5, longer=60, num_prompts=60, seed=k), seed=k)[1].interval for k in range(20)]

    truth = 1 / (1 + np.exp(-0.5))
    assert sum(low <= truth <= high for low, high in filter(None, intervals)) >= 16


def test_who_wins_all_wins_almost_all_and_nothing_is_infinite() -> None:
    made = drawn(quality=0, longer=0, num_prompts=30)
    outcomes = np.where(made.is_between, 1.0, made.outcomes)

    _, controlled = win_rates(Contests(outcomes, made.lengths, made.is_between, made.prompts))

    assert controlled.value is not None and 0.95 < controlled.value < 1
    assert controlled.interval is not None and controlled.interval[0] > 0.9


def test_if_the_longer_one_always_wins_nobody_knows_who_is_better() -> None:
    made = drawn(quality=0, longer=400)
    outcomes = (made.lengths > 0).astype(float)

    plain, controlled = win_rates(Contests(outcomes, made.lengths, made.is_between, made.prompts))

    assert plain.value is not None and plain.value > 0.95
    assert controlled.interval is not None and controlled.interval[0] < 0.4 and controlled.interval[1] > 0.6


def test_nobody_wins_without_contests() -> None:
    empty = Contests(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))

    assert [rate.value for rate in win_rates(empty)] == [None, None]


def test_neither_is_better_if_all_are_equal() -> None:
    made = drawn(quality=0, longer=50)
    plain, controlled = win_rates(Contests(np.full(len(made.outcomes), 0.5), made.lengths, made.is_between, made.prompts))

    assert (plain.value, controlled.value) == (0.5, 0.5)
