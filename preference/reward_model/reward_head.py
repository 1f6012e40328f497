"""The head of a `frozen` version: a linear reward over features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from preference.models.files import cannot_be_loaded

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class RewardHead:
    """A linear reward over features. The mean answer of the training set has reward 0."""

    weight: torch.Tensor  # (feature_size,)
    mean: torch.Tensor  # (feature_size,) of the training set

    def rewards(self, features: torch.Tensor) -> torch.Tensor:
        """(num_answers,) of features (num_answers, feature_size)."""
        rewards: torch.Tensor = (features - self.mean) @ self.weight
        return rewards

    def save(self, folder: Path) -> None:
        """Writes the weights into an existing folder."""
        save_file({"weight": self.weight, "mean": self.mean}, folder / _WEIGHTS, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            ModelError: the file is missing, truncated, or holds something else.
        """
        try:
            tensors = load_file(folder / _WEIGHTS)
            head = cls(tensors["weight"], tensors["mean"])
            if head.weight.dim() != 1 or head.weight.shape != head.mean.shape:
                raise ValueError("no vectors of one size")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise cannot_be_loaded(str(folder), error) from error
        return head
