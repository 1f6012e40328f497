"""The numbers that most figures of a report card are: a value, its 95 % interval, and of how many it is. Each may be unknown."""

from dataclasses import dataclass

from preference.tolerant import Count, Difference, DifferenceInterval, Interval, Known, Number, Part, Range


@dataclass(frozen=True)
class Share:
    """A share, its 95 % interval, and of how many it is."""

    value: Known[Part] = None
    interval: Known[Interval] = None
    count: Known[Count] = None


@dataclass(frozen=True)
class Median:
    """The middle of several numbers, its 95 % interval, and of how many it is."""

    value: Known[Number] = None
    interval: Known[Range] = None
    count: Known[Count] = None


@dataclass(frozen=True)
class ShareDifference:
    """How much larger one share is than another, -1..1, its 95 % interval, and the smaller count of the two."""

    value: Known[Difference] = None
    interval: Known[DifferenceInterval] = None
    count: Known[Count] = None
