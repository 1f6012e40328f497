"""A bet that a share is above a bound, which may be looked at after each vote (Shafer 2021, "Testing by betting", JRSS A 184).

It starts at 1. If the share is the bound or less, no way of betting is expected to win: so whenever anybody looks, and however that moment
was chosen, the probability that the bet ever reached 1 / error is at most `error` (Ville 1939, "Etude critique de la notion de collectif").
"""

import numpy as np
from scipy.special import betaincc, betaln

from trainer.evaluation.intervals import Array


def log_bet(hits: Array, misses: Array, *, bound: float | Array) -> Array:
    """The logarithm of the bet after so many votes for and against; numbers may be broken, and 0 votes give 0.

    The mean over all shares p above the bound of (p / bound)^hits ((1 - p) / (1 - bound))^misses: a mixture of likelihood ratios with an
    equal weight of each (Robbins 1970, "Statistical methods related to the law of the iterated logarithm", section 3).
    """
    with np.errstate(divide="ignore"):  # log(0): the share is far below the bound
        return np.asarray(
            betaln(hits + 1, misses + 1)
            + np.log(betaincc(hits + 1, misses + 1, bound))
            - hits * np.log(bound)
            - (misses + 1) * np.log(1 - bound)
        )
