"""How far a champion's own suggestions pull held-out votes to its side, which would favour it in the verdict.

Of people who would choose the other side, a share follows the suggestion. On a comparison that two versions judge differently, such a vote is one
for the champion. So each comparison beside its suggestion that the challenger wins stands for (1 + share) / (1 - share) of them, and if both
were equally good, the champion would win (1 + share) / 2 (trainer/evaluation/intervals.py).

The share is measured on the control group, and is uncertain as long as that is small. It is multiplied by how certain it is: value^2 /
(value^2 + variance), as in an empirical Bayes estimate around 0. Simulated with a challenger that is .03 better, 90 % of the votes beside the
champion's suggestion and 400 votes, of which the control group is a tenth of all: if nobody, 10 or 20 % follow, it is measured below the
champion in 18, 64 and 95 % without a correction, in 15, 40 and 47 % with it, and in 18 % if held-out tasks show no suggestion. One that is .03
worse is measured above it in 18, 2 and 0 %, in 27, 18 and 19 %, and in 18 %. The control group's votes alone are too few: 34 % in every case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import SuggestionEffect
from preference.report_card.shares import Z

_MOST = 0.5


@dataclass(frozen=True, eq=False)
class Pull:
    """Which held-out votes were cast beside the champion's suggestion, and how far that pulls."""

    is_beside: NDArray[np.bool_]  # (num_holdout,)
    share: float | None  # of those who would choose the other side, 0..0.5; None if it is not measured


def pull_of(holdout: Sequence[PreferencePair], champion: str | None, effect: SuggestionEffect | None) -> Pull:
    """`champion`: its version's name; `effect`: what is known of suggestions, of whichever version."""
    seen = np.array([pair.suggested_version == champion and pair.suggested_side is not None for pair in holdout], bool)
    is_lit = np.array([pair.is_lit for pair in holdout], bool)
    # Of a version that lights no side at all (SUGGEST=scores), the higher reward is the suggestion.
    return Pull(seen & is_lit if (seen & is_lit).any() else seen, share_that_follows(effect))


def share_that_follows(effect: SuggestionEffect | None) -> float | None:
    """The share of those who would choose the other side, 0..0.5, times how certain it is; None if it is not measured."""
    moves, suggested = (effect.moves, effect.with_suggestion) if effect else (None, None)
    agreement = suggested.model_side.value if suggested and suggested.model_side else None
    if moves is None or moves.value is None or moves.interval is None or agreement is None:
        return None
    doubt = max(1 - agreement + moves.value, 0.01)  # how often they would choose the other side if nothing was suggested
    value, deviation = moves.value / doubt, (moves.interval[1] - moves.interval[0]) / (2 * Z) / doubt
    certain = value**2 / (value**2 + deviation**2) if deviation or value else 0.0
    return round(min(max(value, 0.0) * certain, _MOST), 4)
