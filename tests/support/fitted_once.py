"""What the judge learns of style: once of the same comparisons, as simulations judge by the same ones hundreds of times."""

from collections.abc import Iterator
from functools import cache

import pytest

from preference.reward_model.style_features import style
from trainer.evaluation import baselines
from trainer.evaluation.intervals import Array


@pytest.fixture(autouse=True, scope="module")
def style_is_fitted_once() -> Iterator[None]:
    """For a test file that imports it."""
    fit, fitted = baselines._fit, dict[bytes, Array]()

    def fit_once(difference: Array, weights: Array) -> Array:
        key = difference.tobytes() + weights.tobytes()
        if key not in fitted:
            fitted[key] = fit(difference, weights)
        return fitted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_fit", fit_once)
        patch.setattr(baselines, "style", cache(style))
        yield
