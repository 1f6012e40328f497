"""The form of most figures of a report card: a value, its 95 % interval, and how many it is computed from. Each may be unknown."""

from dataclasses import dataclass

from preference.tolerant import Count, Difference, DifferenceInterval, Interval, Known, Number, Part, Range


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
