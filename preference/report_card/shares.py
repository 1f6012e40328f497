"""The form of most figures of a report card: a value, its 95 % interval, and how many it is computed from. Each may be unknown."""

import math
from dataclasses import dataclass

from preference.tolerant import Count, Difference, DifferenceInterval, Interval, Known, Number, Part, Range

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Share:
    """A share, its 95 % interval, and how many it is a share of."""

    value: Known[Part] = None
    interval: Known[Interval] = None
    count: Known[Count] = None


@dataclass(frozen=True)
class Median:
    """The median of several numbers, its 95 % interval, and how many numbers there are."""

    value: Known[Number] = None
    interval: Known[Range] = None
    count: Known[Count] = None


@dataclass(frozen=True)
class ShareDifference:
    """How much larger one share is than another, -1..1, its 95 % interval, and the smaller count of the two."""

    value: Known[Difference] = None
    interval: Known[DifferenceInterval] = None
    count: Known[Count] = None


def wilson(mean: float, count: int, *, z: float = Z) -> tuple[float, float]:
    """The interval of a share (Wilson 1927, "Probable inference", JASA 22); count > 0. `z`: its width, in standard deviations.

    `mean` may be that of values between 0 and 1, too. Their variance is never more than a coin's, so the interval is then too wide.
    """
    scale = 1 + z**2 / count
    middle = (mean + z**2 / (2 * count)) / scale
    half = z * math.sqrt(max(mean * (1 - mean), 0) / count + z**2 / (4 * count**2)) / scale
    return round(max(middle - half, 0.0), 4), round(min(middle + half, 1.0), 4)
