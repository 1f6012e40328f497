from math import log

import numpy as np
import pytest
from scipy.integrate import quad

from trainer.evaluation.betting import log_bet

BOUND = 0.8


def bet(hits: float, misses: float) -> float:
    return float(log_bet(np.array(hits), np.array(misses), bound=BOUND))


def test_it_is_the_mean_over_all_shares_above_the_bound_of_how_much_likelier_they_make_the_votes() -> None:
    total, _ = quad(lambda share: (share / BOUND) ** 17 * ((1 - share) / (1 - BOUND)) ** 2, BOUND, 1)
    assert bet(17, 2) == pytest.approx(log(total / (1 - BOUND)), abs=1e-9)
    assert bet(0, 0) == pytest.approx(0, abs=1e-12)


def test_if_the_share_is_the_bound_nothing_is_won_or_lost_by_one_more_vote_whatever_came_before() -> None:
    for hits, misses in ((0, 0), (5, 0), (7, 3), (90, 31)):
        expected = np.logaddexp(log(BOUND) + bet(hits + 1, misses), log(1 - BOUND) + bet(hits, misses + 1))
        assert expected == pytest.approx(bet(hits, misses), abs=1e-9)


def test_a_share_far_below_the_bound_loses_all_and_breaks_nothing() -> None:
    assert bet(10, 5000) < -1000
    assert bet(4000, 0) > 500
