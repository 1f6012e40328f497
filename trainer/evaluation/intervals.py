"""How sure a share or a difference of shares is: the tests and intervals of the judge and the report card."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

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


def compare(
    first: Array, second: Array, *, seed: int, is_pulled: NDArray[np.bool_] | None = None, pull: float = 0.0
) -> Comparison:
    """How two rows of outcomes (1 right, 0 wrong, .5 undecided, of a ranking the mean of its pairs) differ on the same comparisons.

    `gain`: mean(first) - mean(second), with its 95 % paired bootstrap `gain_interval`. `p_better`: how likely it
    is, if both are equally good, that at least as many of the differing pairs speak for `first`; `p_worse`: against it. Both by
    the exact one-sided McNemar test (McNemar 1947), which is the sign test on the pairs that differ.

    `is_pulled`: the comparisons on which so large a share (`pull`) of those who would have chosen otherwise chose the side of `second`.
    Each of these that `first` wins stands for several, and chance alone gives `second` more than one half of them.
    """
    is_pulled = np.zeros(len(first), bool) if is_pulled is None else is_pulled
    difference = first - second
    is_better, differs = difference > 0, difference != 0
    num_pulled = int((differs & is_pulled).sum())
    num_fair = int(differs.sum()) - num_pulled
    gains = np.where(is_pulled & is_better, difference * (1 + pull) / (1 - pull), difference)
    return Comparison(
        gain=round(min(float(gains.mean()), 1.0), 4) if len(gains) else 0.0,
        gain_interval=_gain_interval(gains, seed=seed),
        p_better=_tail(int(is_better.sum()), num_fair, num_pulled, (1 - pull) / 2),
        p_worse=_tail(int((differs & ~is_better).sum()), num_fair, num_pulled, (1 + pull) / 2),
    )


def _tail(count: int, num_fair: int, num_pulled: int, chance: float) -> float:
    """The chance of at least that many heads, of fair coins and of others that show heads with that chance."""
    chances = np.convolve(
        binom.pmf(np.arange(num_fair + 1), num_fair, 0.5), binom.pmf(np.arange(num_pulled + 1), num_pulled, chance)
    )
    return float(f"{min(chances[count:].sum(), 1.0):.4g}")


def _gain_interval(difference: Array, *, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap of the mean difference; of no width if all pairs differ alike."""
    if not len(difference):
        return 0.0, 0.0
    # To draw pairs again is to draw how many there are of each difference, of which there are few.
    values, counts = np.unique(difference, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(difference), counts / len(difference), size=_NUM_DRAWS)
    low, high = np.quantile(drawn @ values / len(difference), [0.025, 0.975])
    return round(min(float(low), 1.0), 4), round(min(float(high), 1.0), 4)
