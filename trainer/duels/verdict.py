"""Whether people prefer one of two generators beyond noise, however often that is asked.

After each round the trainer looks again. A 95 % interval is wrong once in twenty looks, and so, in the course of a trial, far more often
than once in twenty trials. So the verdict goes by a test that may be looked at after each duel: a bet against "both are as good"
(Robbins 1970, "Statistical methods related to the law of the iterated logarithm"; arXiv 2210.01948), which pays on average nothing if
that is so. If it ever has twenty times its stake, which by Ville's inequality happens in one such trial in twenty at most, it is not so.
"""

import math

from scipy.special import betaln

from trainer.evaluation.intervals import Array

LEAST_DUELS = 20  # in which people preferred one: fewer may be one annotator's hour
_PAYS = 20.0  # times the stake


def prefer(outcomes: Array) -> float:
    """1 if people prefer the first beyond noise, 0 if the second, .5 if that is not known. `outcomes`: 1, 0, or .5 for a tie."""
    wins, losses = int((outcomes > 0.5).sum()), int((outcomes < 0.5).sum())
    # The stake is spread evenly over all shares that might be true: 2^n times the integral of p^wins (1 - p)^losses.
    won = (wins + losses) * math.log(2) + float(betaln(wins + 1, losses + 1))
    if wins + losses < LEAST_DUELS or won < math.log(_PAYS):
        return 0.5
    return 1.0 if wins > losses else 0.0
