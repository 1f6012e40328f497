"""How far apart two computations of the same thing may lie. CONTRIBUTING.md has the table.

A sum of floats depends on its order, and the order on the kernel: another processor, batch or process takes another one, and so
may the same weights at another place in memory. So nothing that is computed twice is compared bit by bit. Exact stays what is
computed once and read back, and what a hash or a seeded generator gives: texts, splits, draws, features from the cache.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike

# Absolute, plus as much of the value.
FEATURES = 1e-4
REWARDS = 1e-4  # of one version, whatever loads it and whatever else is in the batch
TRAINED_REWARDS = 1e-2  # of two trainings on the same pairs with the same recipe, seed and champion
TRAINED_WEIGHTS = 1e-3  # of the largest in the same tensor


def assert_close(actual: ArrayLike | torch.Tensor, expected: ArrayLike | torch.Tensor, *, within: float) -> None:
    """Fails if a number is farther from the expected one than `within`, plus `within` of that."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=within, rtol=within)


def assert_same_weights(actual: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Fails if these are not the weights of two trainings on the same pairs: more than one in a hundred is farther off.

    A few may be off by a whole learning rate: Adam divides a gradient by its own size, so rounding decides the sign of one near 0.
    """
    assert actual.keys() == expected.keys()
    far = [(actual[name] - weight).abs() > TRAINED_WEIGHTS * weight.abs().max() for name, weight in expected.items()]
    assert torch.cat([of_tensor.flatten() for of_tensor in far]).float().mean() <= 0.01
