"""How often people would prefer one answer, from a few that they judged and many that a model guessed: prediction-powered inference.

The mean of the guesses over all duels is known well, and wrong by what a model is wrong; the judged duels tell by how much. PPI++
(Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453) weighs the guesses by a factor, which is 0 if they are of no use, so that the
interval is no wider than people's alone, but for chance. Right whatever the model is, if it was not trained on the judged duels and if
these are as good as drawn from all. ppi-python 0.2.3 says the same but for its normal quantile, and brings numba, pandas and statsmodels.
"""

import math

import numpy as np
from scipy.special import stdtrit

from preference.report_card.shares import Share
from trainer.evaluation.intervals import Array


def powered_share(outcomes: Array, guesses: Array, open_guesses: Array) -> Share:
    """The share, its 95 % interval, and how many duels it is computed from.

    `outcomes`, `guesses`: (num_judged,) what people said, 0..1, and what the model guessed of the same; at least two. `open_guesses`:
    (num_open,) of those that nobody judged; at least two.
    """
    num_judged, num_open = len(outcomes), len(open_guesses)
    spread = float(np.concatenate([guesses, open_guesses]).var(ddof=1))
    shared = float(((outcomes - outcomes.mean()) * (guesses - guesses.mean())).sum() / (num_judged - 1))
    # The factor that makes the variance least (arXiv 2311.01453, section 6); beyond 0..1 it is noise.
    factor = min(1.0, max(0.0, shared / ((1 + num_judged / num_open) * spread))) if spread > 0 else 0.0
    errors = outcomes - factor * guesses
    mean = float(errors.mean() + factor * open_guesses.mean())
    variance = float(errors.var(ddof=1)) / num_judged + factor**2 * float(open_guesses.var(ddof=1)) / num_open
    reach = float(stdtrit(num_judged - 1, 0.975)) * math.sqrt(variance)
    low, high = max(mean - reach, 0.0), min(mean + reach, 1.0)
    return Share(round(min(max(mean, 0.0), 1.0), 4), (round(min(low, 1.0), 4), round(max(high, 0.0), 4)), num_judged + num_open)
