import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.training.calibration import fit_temperature


def gaps_of(temperature: float, *, count: int = 20_000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of a model whose confidence is right at that temperature, and equal weights."""
    random = np.random.default_rng(7)
    size = random.normal(0, 1.4, count)
    is_right = random.random(count) < 1 / (1 + np.exp(-size / temperature))
    return np.where(is_right, size, -size), np.ones(count)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_that_made_the_votes(temperature: float) -> None:
    assert fit_temperature(*gaps_of(temperature)) == pytest.approx(temperature, rel=0.06)


def test_rewards_on_another_scale_have_a_temperature_on_that_scale() -> None:
    gaps, weights = gaps_of(1.0)

    assert fit_temperature(1000 * gaps, weights) == pytest.approx(1000 * fit_temperature(gaps, weights), rel=1e-4)


def confidence(gap: float, temperature: float) -> float:
    return float(1 / (1 + np.exp(-gap / temperature)))


@pytest.mark.parametrize("sign", [0, -1], ids=["that knows nothing", "that is wrong"])
def test_a_model_is_not_sure_of_itself(sign: int) -> None:
    gaps = np.random.default_rng(1).normal(sign, 1, 4000)

    assert confidence(1.0, fit_temperature(gaps, np.ones(4000))) < 0.52


def test_few_pairs_that_are_all_right_make_nobody_sure() -> None:
    assert confidence(1.0, fit_temperature([1.0] * 8, [1.0] * 8)) == pytest.approx(0.9, abs=1e-3)
    assert confidence(1.0, fit_temperature([1.0] * 998, [1.0] * 998)) == pytest.approx(0.999, abs=1e-4)


def test_a_pair_of_half_the_weight_counts_half() -> None:
    twice = fit_temperature([1, 2, -1], [1, 1, 1])

    assert fit_temperature([1, 1, 2, 2, -1, -1], [0.5] * 6) == pytest.approx(twice)


@pytest.mark.parametrize("gaps", [[], [0.0, 0.0]], ids=["no pairs", "no gaps"])
def test_the_temperature_is_1_if_nothing_can_be_learnt(gaps: list[float]) -> None:
    assert fit_temperature(gaps, [1.0] * len(gaps)) == 1.0
