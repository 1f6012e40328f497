"""From which confidence on people choose the model's side often enough: a fixed-sequence test at planned moments.

For each threshold of confidence, the null hypothesis is that people choose the model's side less often than the target above it. The
hypotheses are tested from one threshold down, each at the whole error, until one is not rejected: so the probability of a false
certificate is at most that error (Bauer 1991, "Multiple testing in clinical trials", Statistics in Medicine 10; Jung et al. 2024,
"Trust or Escalate", arXiv 2407.18370, section 2).

Each hypothesis is tested after every BETWEEN votes, and never between, whenever somebody asks. The k moments until now may have spent
k / (k + 1) of its error (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70); what a moment may
spend is exact, by the binomial probability of each number of agreeing votes that no earlier moment rejected. What is rejected stays rejected, but nothing is
certified of which all votes until now say the opposite.
The order is the same at all times: a false certificate needs that the first hypothesis of the order which is true is rejected, and
that is always the same one. A start that moved with the number of votes would begin at several such.
Covered: somebody who asks whenever the votes look best; any relation of confidence and agreement; a model that is surer than it is right,
which only starts the sequence elsewhere.
Not covered: votes that are no fair sample of the tasks that a threshold covers, and votes that depend on each other.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import comb, rel_entr

from trainer.evaluation.intervals import Array

THRESHOLDS: tuple[float, ...] = tuple(percent / 100 for percent in range(50, 100))  # fixed before any vote is cast
BETWEEN = (
    25  # votes from one moment to the next: simulated beside 50 and 100, which certify more after 200 votes, and less before
)
_FIRST_PART = 0.9  # of the error, for the first beginning
_HALVINGS = 14
_MOST_MOMENTS = 2000
_NEGLIGIBLE = 1e-20  # a probability


@dataclass(frozen=True, eq=False)
class Counts:
    """The votes at or above each of THRESHOLDS, at each planned moment until now."""

    votes: Array  # (num_moments, num_thresholds) whole numbers
    agreeing: Array  # (num_moments, num_thresholds) of them for the model's side
    agreement: Array  # (num_thresholds,) the share of all votes, also of those since the last moment

    @classmethod
    def of(cls, confidence: Array, agrees: Array, *, more: int = 0) -> "Counts":
        """Those of single votes, in their order. `confidence`: (num_votes,) .5..1; `agrees`: (num_votes,) 1 if the model's side was chosen, else 0.

        `more`: also the moments of so many votes to come, if they go the same way.
        """
        above = _above(confidence)
        num_votes = above.shape[1]
        moments = np.arange(BETWEEN, num_votes + more + 1, BETWEEN)
        votes, agreeing = (
            np.concatenate([np.zeros((len(THRESHOLDS), 1)), np.cumsum(each, axis=1)], axis=1).T
            for each in (above, above * agrees)
        )  # (num_votes + 1, num_thresholds)
        known = np.minimum(moments, num_votes)
        factor = ((moments - known) / max(num_votes, 1))[:, None]
        of_votes, of_agreeing = (each[known] + np.round(factor * each[-1]) for each in (votes, agreeing))
        return cls(of_votes, of_agreeing, agreement=agreeing[-1] / np.maximum(votes[-1], 1))

    def __len__(self) -> int:
        return len(self.votes)


def error_of(beginning: int, *, confidence: float) -> float:
    """The error of the `beginning`-th time that a version is tested anew, 1 for the first; those of all add up to 1 - confidence."""
    return (1 - confidence) * _FIRST_PART * (1 - _FIRST_PART) ** (beginning - 1)


def start_of(confidence: Array, *, target: float) -> float:
    """The threshold that is tested first. `confidence`: (num_tasks,) the model's, .5..1, of tasks that do not depend on the votes.

    That is where a model which is as right as it says would win a bet with the fewest votes: the share of the tasks above the threshold
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
    """(num_thresholds,) the probability that the true share is ever below this, at any moment, is at most `error` for each."""
    bounds: Array = np.zeros(len(THRESHOLDS))
    for place in range(len(THRESHOLDS)) if len(counts) else ():
        if place and _is_as_above(counts, place - 1):
            bounds[place] = bounds[place - 1]
            continue
        high = float(np.max(counts.agreeing[:, place] / np.maximum(counts.votes[:, place], 1)))
        for _ in range(_HALVINGS):
            middle = (bounds[place] + high) / 2
            is_refuted = _refuted_at(counts.votes[:, place], counts.agreeing[:, place], bound=middle, error=error) is not None
            bounds[place], high = (middle, high) if is_refuted else (bounds[place], middle)
    return bounds


def certified_from(counts: Counts, *, target: float, error: float, start: float) -> list[float | None]:
    """(num_moments,) the lowest of THRESHOLDS above which people choose the model's side in `target` of the tasks at least.

    None as long as that is known of none.
    """
    found: list[float | None] = [None] * len(counts)
    first = place = THRESHOLDS.index(start)
    moment: int | None = None
    latest = 0
    while place >= 0 and len(counts):
        is_new = place == first or not _is_as_above(counts, place)
        if is_new:
            moment = _refuted_at(counts.votes[:, place], counts.agreeing[:, place], bound=target, error=error)
        if moment is None:
            break
        latest = max(latest, moment)
        if (
            is_new and counts.agreement[place] >= target
        ):  # else no vote speaks for what lies between, or later ones speak against it
            found[latest:] = [THRESHOLDS[place]] * (len(counts) - latest)
        place -= 1
    return found


def least_votes(*, target: float, error: float) -> int:
    """With fewer, nothing can be certified, even if people always choose the model's side."""
    votes = np.arange(1.0, _MOST_MOMENTS + 1) * BETWEEN
    moment = _refuted_at(votes, votes, bound=target, error=error)
    return int(votes[-1 if moment is None else moment])


def _refuted_at(votes: Array, agreeing: Array, *, bound: float, error: float) -> int | None:
    """The first moment at which it is refuted that people choose the model's side less often than the bound; None if there is none."""
    # left[i]: the probability, at the bound, that least + i agree and no moment has refuted it.
    left, least, spent = np.ones(1), 0, 0.0
    for moment, (new, agree) in enumerate(zip(np.diff(votes, prepend=0).astype(int), agreeing, strict=True)):
        hits, ways = _ways(new)
        left = np.convolve(left, ways * bound**hits * (1 - bound) ** hits[::-1])
        at_least = np.cumsum(left[::-1])  # of the last number, of the last two, ...
        num_refuting = int(np.searchsorted(at_least, error * (moment + 1) / (moment + 2) - spent, side="right"))
        needed = len(left) - num_refuting
        if least + needed <= agree:
            return moment
        if num_refuting:
            spent += float(at_least[num_refuting - 1])
        first = int(np.argmax(left > _NEGLIGIBLE))
        left, least = left[first:needed], least + first
    return None


@lru_cache(maxsize=BETWEEN + 1)
def _ways(count: int) -> tuple[Array, Array]:
    """(count + 1,) numbers of agreeing votes, and in how many ways so many of `count` agree."""
    hits = np.arange(count + 1.0)
    return hits, comb(count, hits)


def _is_as_above(counts: Counts, place: int) -> bool:
    """Whether the votes at or above this threshold are those at or above the next one."""
    return bool((counts.votes[-1, place] == counts.votes[-1, place + 1]).all())


def _above(confidence: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(num_thresholds, num_votes) whether it is at least the threshold."""
    return np.asarray(confidence[None, :] >= np.array(THRESHOLDS)[:, None])
