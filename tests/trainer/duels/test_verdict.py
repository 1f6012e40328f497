import numpy as np
import pytest

from trainer.duels.verdict import LEAST_DUELS, prefer
from trainer.evaluation.intervals import Array


def said(wins: int, losses: int, ties: int = 0) -> Array:
    return np.array([1.0] * wins + [0.0] * losses + [0.5] * ties)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (said(0, 0), 0.5),
        (said(0, LEAST_DUELS - 1), 0.5),
        (said(0, LEAST_DUELS), 0.0),
        (said(LEAST_DUELS, 0), 1.0),
        (said(0, LEAST_DUELS - 1, 30), 0.5),
        (said(15, 35), 0.5),  # a 95 % interval of one look is below one half
        (said(13, 37), 0.0),
        (said(37, 13, 40), 1.0),
        (said(500, 520), 0.5),
    ],
)
def test_people_prefer_one_beyond_noise(outcomes: Array, verdict: float) -> None:
    assert prefer(outcomes) == verdict


@pytest.mark.parametrize(("share", "least_found", "most_found"), [(0.5, 0.0, 0.05), (0.3, 0.95, 1.0)])
def test_it_may_be_asked_after_each_duel(share: float, least_found: float, most_found: float) -> None:
    """Of generators that are as good, one in twenty at most is ever said to be better or worse."""
    chance = np.random.default_rng(0)
    num_trials, num_found = 200, 0
    for _ in range(num_trials):
        outcomes = (chance.random(160) < share).astype(float)
        verdicts = {prefer(outcomes[:count]) for count in range(LEAST_DUELS, 161, 2)}
        num_found += verdicts != {0.5}

    assert least_found <= num_found / num_trials <= most_found
