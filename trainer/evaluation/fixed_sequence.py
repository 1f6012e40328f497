"""From which confidence on people choose the model's side often enough: a fixed-sequence test with exact binomial bounds.

For each threshold of confidence, the null hypothesis is that people choose the model's side less often than the target above it. The
hypotheses are tested in an order that no vote decides, from a high threshold down, each at the whole error, until one is not rejected:
so the probability of a false certificate is at most that error (Bauer 1991, "Multiple testing in clinical trials", Statistics in
Medicine 10; Jung et al. 2024, "Trust or Escalate", arXiv 2407.18370, section 2). Bounds are Clopper and Pearson's.

Whoever asks again after more votes tests again. The k-th time therefore has the k-th part of the error only (`error_of`), and all parts
add up to the whole.
Covered: any relation of confidence and agreement; a model that is surer than it is right, which only starts the sequence too low.
Not covered: votes that are no fair sample of the tasks that a threshold covers, and votes that depend on each other.
"""

from dataclasses import dataclass
from math import ceil, log

import numpy as np
from scipy.stats import beta, binom

from trainer.evaluation.intervals import Array

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(50, 100))  # fixed before any vote is cast
_SURE_TO_PASS = 0.99


@dataclass(frozen=True, eq=False)
class Counts:
    """The votes at or above each of THRESHOLDS. Numbers may be broken in a forecast."""

    votes: Array  # (num_thresholds,)
    agreeing: Array  # (num_thresholds,) of them for the model's side
    confidence: Array  # (num_thresholds,) the model's, on average

    @classmethod
    def of(cls, confidence: Array, agrees: Array) -> "Counts":
        """Those of single votes. `confidence`: (num_votes,) .5..1; `agrees`: (num_votes,) 1 if the model's side was chosen, else 0."""
        above = confidence[None, :] >= np.array(THRESHOLDS)[:, None]  # (num_thresholds, num_votes)
        votes = above.sum(1).astype(float)
        mean = np.divide(above @ confidence, votes, out=np.full(len(votes), 0.5), where=votes > 0)
        return cls(votes, above @ agrees, mean)

    def times(self, factor: float) -> "Counts":
        """As many times the votes, that went the same way."""
        return Counts(self.votes * factor, self.agreeing * factor, self.confidence)


def error_of(look: int, *, confidence: float) -> float:
    """The error of the `look`-th time that a version is tested, 1 for the first; those of all times add up to 1 - confidence."""
    return (1 - confidence) / (look * (look + 1))


def lower_bounds(counts: Counts, *, error: float) -> Array:
    """(num_thresholds,) below each, the true share lies with a probability of `error` at most (Clopper and Pearson 1934, Biometrika 26)."""
    some = counts.agreeing > 0
    bounds: Array = np.zeros(len(some))
    bounds[some] = beta.ppf(error, counts.agreeing[some], (counts.votes - counts.agreeing)[some] + 1)
    return bounds


def certified_from(counts: Counts, *, target: float, error: float) -> float | None:
    """The lowest of THRESHOLDS above which people choose the model's side in `target` of the tasks at least; None if of none it is known."""
    passes = lower_bounds(counts, error=error) >= target
    place = _start(counts, target=target, error=error)
    if not passes[place]:
        return None
    while place > 0 and passes[place - 1]:
        place -= 1
    while place + 1 < len(passes) and counts.votes[place + 1] == counts.votes[place]:  # no vote speaks for what lies between
        place += 1
    return THRESHOLDS[place]


def least_votes(*, target: float, error: float) -> int:
    """With fewer, nothing can be certified, even if people always choose the model's side."""
    return ceil(log(error) / log(target) - 1e-9)


def _start(counts: Counts, *, target: float, error: float) -> int:
    """The place of the threshold that is tested first: the highest of those that a model which is as right as it says is sure to pass.

    Without any such, the one that it passes most likely. No vote decides that: confidences and the number of votes do.
    """
    votes = np.floor(counts.votes)
    needed = binom.isf(error, votes, target) + 1  # votes for the model's side, so that the lower bound is the target at least
    power = np.where(votes > 0, binom.sf(needed - 1, votes, counts.confidence), 0.0)
    sure = np.flatnonzero(power >= _SURE_TO_PASS)
    return int(sure[-1] if len(sure) else np.argmax(power))
