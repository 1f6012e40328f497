"""By how much the accuracy of a champion is too high, because it was chosen on the comparisons that its accuracy is measured on.

Of several versions that are equally good, the luckiest is served. The first one was chosen from none, and its accuracy is hardly too high. Measured in simulated projects whose versions are all equally good, after
20 rounds by the judge's rule: from 30 comparisons on in 600 projects each, below that in 40. No correction of a single card is right: how many
versions it was chosen from, and how like they are, differs from project to project.
"""

from itertools import pairwise
from math import exp, log

from preference.report_card.figures import HeldOutAccuracy

ENOUGH = 100  # comparisons, from which on it matters little
_MEASURED = ((8, 0.22), (12, 0.20), (30, 0.089), (100, 0.031))  # comparisons, by how much


def excess_of(figures: HeldOutAccuracy, *, promoted: bool | None) -> float | None:
    """How much too high the accuracy may be, 0..1; None from ENOUGH comparisons on, and of a version that was not chosen."""
    count = figures.num_pairs
    if not promoted or figures.accuracy is None or not count or count >= ENOUGH:
        return None
    count = max(count, _MEASURED[0][0])
    for (few, most), (many, least) in pairwise(_MEASURED):
        if count <= many:
            part = (log(count) - log(few)) / (log(many) - log(few))
            return round(exp(log(most) + part * (log(least) - log(most))), 3)
    return None
