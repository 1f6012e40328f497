"""How far a reward model's confidence may be trusted: one temperature, fitted on pairs that the model did not train on."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

_LEAST, _MOST = 1e-2, 1e3  # of the typical gap; at the upper end a typical gap has confidence .50025


def fit_temperature(gaps: ArrayLike, weights: ArrayLike) -> float:
    """The temperature > 0 with which sigmoid(gap / temperature) is the likeliest account of these gaps.

    `gaps`: reward of chosen - rejected, (num_pairs,), of pairs that the model did not train on. A model that knows nothing, or
    is more often wrong than right, gets a large one, so that its confidence is near .5. Each pair counts as right by
    (n + 1) / (n + 2) alone, which keeps few pairs that are all right from making the model sure of itself (Platt 1999,
    "Probabilistic outputs for support vector machines", section 2.2). 1.0 if there is nothing to learn from.
    """
    gap, weight = np.asarray(gaps, dtype=float), np.asarray(weights, dtype=float)
    total = weight.sum()
    typical = np.sqrt((weight * gap**2).sum() / total) if total > 0 else 0.0
    if not typical > 0:
        return 1.0
    right = (total + 1) / (total + 2)

    def surprise(log_temperature: float) -> float:
        standard = gap / np.exp(log_temperature)
        return float((weight * (right * np.logaddexp(0, -standard) + (1 - right) * np.logaddexp(0, standard))).sum())

    # Convex in 1 / temperature, so one minimum in its logarithm.
    bounds = (float(np.log(typical * _LEAST)), float(np.log(typical * _MOST)))
    best = minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))
