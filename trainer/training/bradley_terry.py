"""The weights of least Bradley-Terry loss over columns of differences, for several priors and several subsets of the pairs at once.

All subsets of the same first pairs share one bound on the curvature: a logistic loss bends nowhere more than at 0 (Böhning 1992,
"Multinomial logistic regression algorithm"), and leaving pairs out only flattens it. So each step solves with a matrix that is factored
once for each prior, every problem's gaps and slopes are one product of matrices, and momentum with restarts (O'Donoghue and Candès 2015,
arXiv 1204.3982) makes up for the bound: a dozen steps, where L-BFGS takes its steps for each problem alone. The bound of more pairs goes
on from that of fewer. scikit-learn and scipy fit one problem at a time.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import ssyrk

Array = NDArray[np.float64]
_NEAR = 1e-6  # twice what a step would still lower the loss, by the bound: nothing, for a loss that counts votes
ROWS_AT_ONCE = 2048  # pairs of which a copy is made: 15 MB
_MOST_STEPS = 1000  # a dozen is usual


def least_loss(
    columns: torch.Tensor, votes: torch.Tensor, margins: torch.Tensor, priors: Sequence[float], *, subsets: Sequence[torch.Tensor]
) -> list[Array]:
    """For each of `subsets` (num_priors, num_subsets, size): the weights w that make sum(votes * -log sigmoid(columns @ w - margins)) + prior / 2 * |w|^2 least.

    `columns`: (num_pairs, size) float32, chosen - rejected; `votes`: (num_pairs,) what each pair counts, 0 or more; `margins`: (num_pairs,);
    `priors`: above 0; `subsets`: each (num_subsets, count) bool, the pairs among the first `count` that the sum runs over; counts ascend.
    """
    within: Array | None = None
    if (
        columns.shape[0] < columns.shape[1]
    ):  # the weights are a mean of the rows, so they have as many coordinates as there are rows
        orthogonal, triangle = torch.linalg.qr(columns.T)
        columns, within = triangle.T.contiguous(), orthogonal.double().numpy()
    size, before, found = columns.shape[1], 0, []
    curvature = np.zeros((size, size), np.float32, order="F")  # its upper half, four times the bound
    for each in subsets:
        count = each.shape[1]
        for rows, of_rows in zip(*(of_all[before:count].split(ROWS_AT_ONCE) for of_all in (columns, votes)), strict=True):
            weighted = (rows * of_rows.sqrt()[:, None]).numpy()
            curvature = ssyrk(1.0, weighted.T, beta=1.0, c=curvature, overwrite_c=True)
        weights = _minimise(columns[:count], votes[:count], margins[:count], priors, each, curvature)
        found.append(weights if within is None else weights @ within.T)
        before = count
    return found


def _minimise(
    columns: torch.Tensor, votes: torch.Tensor, margins: torch.Tensor, priors: Sequence[float], subsets: torch.Tensor,
    curvature: NDArray[np.float32],
) -> Array:  # fmt: skip
    num_subsets, size = len(subsets), columns.shape[1]
    factors = [_factor(curvature, prior) for prior in priors]
    prior_of = np.repeat(np.asarray(priors, dtype=float), num_subsets)  # of each problem: all subsets with the first prior, ...
    votes_of = (votes * subsets).T.repeat(1, len(priors))  # (num_pairs, num_problems)
    weight = np.zeros((size, len(prior_of)))
    ahead, pace = weight, np.ones(len(prior_of))
    for _ in range(_MOST_STEPS):
        gaps = columns @ torch.from_numpy(ahead).float() - margins[:, None]
        rise = (votes_of * -torch.sigmoid(-gaps)).T @ columns  # the other way round it takes three times as long
        slope = rise.T.double().numpy() + prior_of * ahead
        by_prior = np.split(slope.astype(np.float32), len(priors), axis=1)
        step = np.concatenate([cho_solve(f, s, check_finite=False) for f, s in zip(factors, by_prior, strict=True)], axis=1)
        is_there = (slope * step).sum(0) < _NEAR  # and stays: what is left is rounding, which would move even weights of 0
        if is_there.all():
            break
        reached = np.where(is_there, ahead, ahead - step)
        is_overshot = (slope * (reached - weight)).sum(0) > 0
        pace = np.where(is_overshot, 1.0, pace)
        next_pace = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        momentum = np.where(is_there | is_overshot, 0.0, (pace - 1) / next_pace)
        ahead, weight, pace = reached + momentum * (reached - weight), reached, next_pace
    result: Array = ahead.T.reshape(len(priors), num_subsets, size)
    return result


def _factor(curvature: NDArray[np.float32], prior: float) -> tuple[NDArray[np.float32], bool]:
    """The Cholesky factor of the bound with this prior, as scipy's cho_solve takes it."""
    bound = curvature * np.float32(0.25)
    # The second part is above what rounding takes from the least eigenvalue.
    bound.flat[:: len(bound) + 1] += np.float32(prior) + np.float32(1e-6) * np.trace(bound)
    factor: tuple[NDArray[np.float32], bool] = cho_factor(bound, overwrite_a=True, check_finite=False)
    return factor
