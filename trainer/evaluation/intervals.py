"""How sure a share or a difference of shares is: the tests and intervals of the judge and the report card."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from preference.report_card.figures import Comparison
from preference.report_card.shares import Median, Share, Z, wilson

Array = NDArray[np.float64]
_NUM_DRAWS = 4000


def share(values: Array | Sequence[float], *, at_least: int = 1, z: float = Z) -> Share:
    """The mean of values in 0..1, its interval (`z`: its width, in standard deviations), and their count; below `at_least` only that."""
    values = np.asarray(values, dtype=float)
    if len(values) < max(at_least, 1):
        return Share(count=len(values))
    mean = float(values.mean())
    return Share(round(mean, 4), wilson(mean, len(values), z=z), len(values))


def middle(values: Array | Sequence[float], *, at_least: int = 1) -> Median:
    """The median of values, its 95 % interval, and their count; below `at_least` of them only the count.

    The interval's ends are two of the values, by the sign test (Conover 1999, "Practical Nonparametric Statistics", 3.2); below
    six values they are the outermost, which is less sure than 95 %.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if len(ordered) < max(at_least, 1):
        return Median(count=len(ordered))
    skipped = max(int(binom.ppf(0.025, len(ordered), 0.5)) - 1, 0)
    ends = round(float(ordered[skipped]), 2), round(float(ordered[-1 - skipped]), 2)
    return Median(round(float(np.median(ordered)), 2), ends, len(ordered))


def compare(first: Array, second: Array, *, seed: int) -> Comparison:
    """How two rows of outcomes (1 right, 0 wrong, .5 undecided, of a ranking the mean of its pairs) differ on the same comparisons.

    `gain`: mean(first) - mean(second), with its 95 % paired bootstrap `gain_interval`. `p_better`: how likely it
    is, if both are equally good, that at least as many of the differing pairs speak for `first`; `p_worse`: against it. Both by
    the exact one-sided McNemar test (McNemar 1947), which is the sign test on the pairs that differ.
    """
    difference = first - second
    num_better, num_worse = int((difference > 0).sum()), int((difference < 0).sum())
    num_differ = num_better + num_worse
    return Comparison(
        gain=round(float(difference.mean()), 4) if len(difference) else 0.0,
        gain_interval=_gain_interval(difference, seed=seed),
        p_better=_tail(num_better, num_differ),
        p_worse=_tail(num_worse, num_differ),
    )


def _tail(count: int, total: int) -> float:
    """The chance of at least that many heads."""
    return float(f"{binomtest(count, total, alternative='greater').pvalue:.4g}") if total else 1.0


def _gain_interval(difference: Array, *, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap of the mean difference; of no width if all pairs differ alike."""
    if not len(difference):
        return 0.0, 0.0
    # To draw pairs again is to draw how many there are of each difference, of which there are few.
    values, counts = np.unique(difference, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(difference), counts / len(difference), size=_NUM_DRAWS)
    low, high = np.quantile(drawn @ values / len(difference), [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)
