"""From which confidence on people choose the model's side often enough: a fixed-sequence test whose bounds hold at any time.

For each threshold of confidence, the null hypothesis is that people choose the model's side less often than the target above it. The
hypotheses are tested from one threshold down, each at the whole error, until one is not rejected: so the probability of a false
certificate is at most that error (Bauer 1991, "Multiple testing in clinical trials", Statistics in Medicine 10; Jung et al. 2024,
"Trust or Escalate", arXiv 2407.18370, section 2).

Each hypothesis is tested by a bet (betting.py), so a certificate may be asked for after each vote, and at a moment that somebody chose by
the votes (Howard et al. 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49). Together they
keep the error at all times because the order is the same at all times: a false certificate needs that the first hypothesis of the order
which is true is rejected, and that is always the same one. A start that moved with the number of votes would begin at several such.
Covered: any relation of confidence and agreement; a model that is surer than it is right, which only starts the sequence elsewhere.
Not covered: votes that are no fair sample of the tasks that a threshold covers, and votes that depend on each other.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.special import rel_entr

from trainer.evaluation.betting import log_bet
from trainer.evaluation.intervals import Array

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(50, 100))  # fixed before any vote is cast
_FIRST_PART = 0.9  # of the error, for the first beginning
_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Counts:
    """The votes at or above each of THRESHOLDS. Numbers may be broken in a forecast."""

    votes: Array  # (num_thresholds,)
    agreeing: Array  # (num_thresholds,) of them for the model's side

    @classmethod
    def of(cls, confidence: Array, agrees: Array) -> "Counts":
        """Those of single votes. `confidence`: (num_votes,) .5..1; `agrees`: (num_votes,) 1 if the model's side was chosen, else 0."""
        above = _above(confidence)
        return cls(above.sum(1).astype(float), above @ agrees)

    def times(self, factor: float) -> "Counts":
        """As many times the votes, that went the same way."""
        return Counts(self.votes * factor, self.agreeing * factor)


def error_of(beginning: int, *, confidence: float) -> float:
    """The error of the `beginning`-th time that a version is tested anew, 1 for the first; those of all add up to 1 - confidence."""
    return (1 - confidence) * _FIRST_PART * (1 - _FIRST_PART) ** (beginning - 1)


def start_of(confidence: Array, *, target: float) -> float:
    """The threshold that is tested first. `confidence`: (num_tasks,) the model's, .5..1, of tasks that do not depend on the votes.

    That is where a model which is as right as it says would win the bet with the fewest votes: the share of the tasks above the threshold
    times the relative entropy of a vote there (Kelly 1956, "A new interpretation of information rate"). If it is nowhere as sure as the
    target, all tasks are tested first. Without a task it is half way from the target to certainty, which is the best place if every
    confidence is as likely.
    """
    if not len(confidence):
        return min(round((1 + target) / 2, 2), THRESHOLDS[-1])
    above = _above(confidence)
    num = above.sum(1)
    mean = np.divide(above @ confidence, num, out=np.zeros(len(num)), where=num > 0)
    growth = num * (rel_entr(mean, target) + rel_entr(1 - mean, 1 - target)) * (mean > target)
    return THRESHOLDS[len(num) - 1 - int(np.argmax(growth[::-1]))] if growth.any() else THRESHOLDS[0]


def lower_bounds(counts: Counts, *, error: float) -> Array:
    """(num_thresholds,) the probability that the true share is ever below this, at any number of votes, is at most `error` for each."""
    low, high = np.zeros(len(counts.votes)), np.divide(counts.agreeing, np.maximum(counts.votes, 1))
    for _ in range(_HALVINGS):  # a bet on more than a share falls as the share rises
        middle = (low + high) / 2
        is_refuted = _refuted(counts, bound=np.clip(middle, 1e-12, 1 - 1e-12), error=error)
        low, high = np.where(is_refuted, middle, low), np.where(is_refuted, high, middle)
    return low


def certified_from(counts: Counts, *, target: float, error: float, start: float) -> float | None:
    """The lowest of THRESHOLDS above which people choose the model's side in `target` of the tasks at least; None if of none it is known."""
    passes, first = _refuted(counts, bound=target, error=error), THRESHOLDS.index(start)
    place = first
    if not passes[place]:
        return None
    while place > 0 and passes[place - 1]:
        place -= 1
    while place < first and counts.votes[place + 1] == counts.votes[place]:  # no vote speaks for what lies between
        place += 1
    return THRESHOLDS[place]


def least_votes(*, target: float, error: float) -> int:
    """With fewer, nothing can be certified, even if people always choose the model's side."""
    return next(num for num in count(1) if log_bet(np.array(float(num)), np.array(0.0), bound=target) >= -np.log(error))


def _refuted(counts: Counts, *, bound: float | Array, error: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(num_thresholds,) whether it is refuted that people choose the model's side less often than the bound."""
    return np.asarray(log_bet(counts.agreeing, counts.votes - counts.agreeing, bound=bound) >= -np.log(error))


def _above(confidence: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(num_thresholds, num_votes) whether it is at least the threshold."""
    return np.asarray(confidence[None, :] >= np.array(THRESHOLDS)[:, None])
