"""How often one writer's answers are better than another's, and how often they would be if they were as long.

Length wins too often: people and reward models prefer the longer answer before they have read it, and whoever learns from them learns
to be long. The win rate at equal length is that of a logistic regression with two weights: of who wrote the answer, and of the
difference of lengths (Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv 2404.04475, without its weight for each prompt). There,
other writers tell what length alone does. Here, two answers of one writer to one prompt do.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from preference.report_card.shares import Share, Z
from trainer.evaluation.intervals import Array, share

_NUM_DRAWS = 1000
_PRIOR = 0.1  # of half the squared weights, in contests: keeps them finite if one side won all
_MOST_STEPS, _LONGEST_STEP = 30, 2.0


@dataclass(frozen=True, eq=False)
class Contests:
    """Answers to the same prompts, two by two."""

    outcomes: Array  # (num_contests,) 1 if the first answer is better, 0 if the second, .5 if neither
    lengths: Array  # (num_contests,) letters of the first less those of the second
    is_between: NDArray[
        np.bool_
    ]  # (num_contests,) whether the first is of the one writer and the second of the other; else both of one
    prompts: NDArray[np.int64]  # (num_contests,) which prompt, counted from 0


def win_rates(contests: Contests, *, seed: int = 0, z: float = Z) -> tuple[Share, Share]:
    """(how often the one writer's answers are better, the same at equal length), with intervals over prompts.

    `z`: how wide the intervals are, in standard deviations.
    """
    between = contests.is_between
    if not between.any():
        return Share(count=0), Share(count=0)
    num_prompts = int(contests.prompts.max()) + 1
    totals = np.bincount(contests.prompts[between], contests.outcomes[between], minlength=num_prompts)
    counts = np.bincount(contests.prompts[between], minlength=num_prompts)
    plain = share(totals[counts > 0] / counts[counts > 0], z=z)
    spread = float(contests.lengths.std()) or 1.0
    columns = np.stack([between.astype(float), np.tanh(contests.lengths / spread)], axis=1)  # (num_contests, 2)
    # Contests of one prompt are no independent ones, so prompts are drawn again, each with all of its contests.
    drawn = np.random.default_rng(seed).multinomial(num_prompts, np.full(num_prompts, 1 / num_prompts), size=_NUM_DRAWS)
    weights = np.concatenate([np.ones((1, num_prompts)), drawn])[:, contests.prompts]  # (1 + num_draws, num_contests)
    fitted, spreads = _fit(columns, contests.outcomes, weights)
    # If whoever is longer always wins, every draw gives the same: only the curvature shows that the two weights cannot be told apart.
    reach = np.array([-z, z]) * spreads[0] + fitted[0]
    tail = NormalDist().cdf(-z)
    low = min(float(np.quantile(fitted[1:], tail)), float(reach[0]))
    high = max(float(np.quantile(fitted[1:], 1 - tail)), float(reach[1]))
    rate, *ends = (round(float(value), 4) for value in _sigmoid(np.array([fitted[0], low, high])))
    return plain, Share(rate, (ends[0], ends[1]), num_prompts)


def _fit(columns: Array, outcomes: Array, weights: Array) -> tuple[Array, Array]:
    """(num_fits,) each: the weight of who wrote it in each logistic regression, and its standard deviation by the curvature.

    By Newton's method; `weights` (num_fits, num_contests).
    """
    fitted = np.zeros((len(weights), 2))
    products = (columns[:, :, None] * columns[:, None, :]).reshape(-1, 4)
    for _ in range(_MOST_STEPS):
        expected = _sigmoid(fitted @ columns.T)  # (num_fits, num_contests)
        slopes = (weights * (expected - outcomes)) @ columns + _PRIOR * fitted
        bends = ((weights * expected * (1 - expected)) @ products).reshape(-1, 2, 2) + _PRIOR * np.eye(2)
        steps = np.linalg.solve(bends, slopes[:, :, None])[:, :, 0].clip(-_LONGEST_STEP, _LONGEST_STEP)
        fitted -= steps
        if np.abs(steps).max() < 1e-6:
            break
    return fitted[:, 0], np.sqrt(np.linalg.inv(bends)[:, 0, 0])


def _sigmoid(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-values.clip(-50, 50)))
    return result
