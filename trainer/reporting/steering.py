"""How much more often people choose the model's side if it is suggested, among tasks on which the model is as sure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preference.report_card.shares import ShareDifference
from trainer.evaluation.intervals import Array
from trainer.reporting.figures import AT_LEAST

_PER_STRATUM, _MOST_STRATA = 20, 4  # of the control group's judgements
# Judgements of the control group, for a value. What is subtracted within strata supposes a model that is right as often as it is
# sure. If it is too sure, fewer and wider strata show people as moved whom nothing moves. Simulated with people who agree as often
# however sure it is, and a tenth of the tasks judged: false warnings in 8 % of reports at 40 and 50, in 3 to 5 % from 60 on.
_LEAST_BLIND = 3 * _PER_STRATUM
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, eq=False)
class Agreement:
    """Of some judgements: whether people chose the model's side, and how sure the model is of it."""

    agrees: Array  # (num_judgements,) 1 or 0
    confidence: Array  # (num_judgements,) .5..1

    def __len__(self) -> int:
        return len(self.agrees)

    def only(self, rows: NDArray[np.bool_]) -> "Agreement":
        """The same of some of them."""
        return Agreement(self.agrees[rows], self.confidence[rows])


def moves(suggested: Agreement, blind: Agreement) -> ShareDifference:
    """How much more often people choose the model's side if it is suggested, among tasks on which the model is as sure.

    Tasks are divided into strata of like confidence, which hold equally many of the control group. The differences of the strata
    are averaged, weighted as the tasks with a suggestion are.
    """
    count = min(len(suggested), len(blind))
    if count < AT_LEAST or len(blind) < _LEAST_BLIND:
        return ShareDifference(count=count)
    num_strata = min(_MOST_STRATA, len(blind) // _PER_STRATUM)
    edges = np.quantile(blind.confidence, np.arange(1, num_strata) / num_strata)
    places = np.digitize(suggested.confidence, edges), np.digitize(blind.confidence, edges)
    strata = [
        _stratum(suggested.only(places[0] == number), blind.only(places[1] == number))
        for number in set(places[0]) & set(places[1])
    ]
    if not strata:
        return ShareDifference(count=count)
    sizes, differences, middles, variances = np.array(strata).T
    weights = sizes / sizes.sum()
    center, half = float(weights @ middles), _Z * float(np.sqrt(weights**2 @ variances))
    low, high = max(center - half, -1.0), min(center + half, 1.0)
    return ShareDifference(round(float(weights @ differences), 4), (round(low, 4), round(high, 4)), count)


def _stratum(suggested: Agreement, blind: Agreement) -> tuple[float, float, float, float]:
    """Of one stratum: its size, the difference, the middle of the difference's interval, and its variance.

    Confidence still differs a little within a stratum, which is subtracted. The interval adds an agreement and a disagreement to
    each side, so that a few judgements which all agree are not taken for certainty (Agresti and Caffo 2000, "Simple and effective
    confidence intervals", The American Statistician 54).
    """
    expected = float(suggested.confidence.mean() - blind.confidence.mean())
    first, second = ((side.agrees.sum() + 1) / (len(side) + 2) for side in (suggested, blind))
    variance = first * (1 - first) / (len(suggested) + 2) + second * (1 - second) / (len(blind) + 2)
    difference = float(suggested.agrees.mean() - blind.agrees.mean()) - expected
    return len(suggested), difference, float(first - second) - expected, float(variance)
