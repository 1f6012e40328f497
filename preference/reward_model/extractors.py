"""The feature extractors of a process: one backbone in memory for all versions that read the same features."""

import threading
from pathlib import Path

import torch

from preference.errors import ModelError
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe


class Extractors:
    """Gives the extractor of a recipe; versions that share a recipe share the backbone in memory until its files are replaced."""

    def __init__(self, model_dir: Path, device: torch.device) -> None:
        self.model_dir, self.device = model_dir, device
        self._loaded: dict[FeatureRecipe, FeatureExtractor] = {}
        self._loading = threading.Lock()

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        """The extractor, loaded at the first call, and at the first after its base was replaced.

        Raises:
            ModelError: the base cannot be loaded.
        """
        with self._loading:
            if recipe not in self._loaded or self._is_outdated(self._loaded[recipe]):
                self._loaded[recipe] = FeatureExtractor(recipe, model_dir=self.model_dir, device=self.device)
            return self._loaded[recipe]

    def _is_outdated(self, extractor: FeatureExtractor) -> bool:
        try:
            return extractor.recipe.key(self.model_dir) != extractor.key
        except ModelError:  # its files are away, and it is whole in memory
            return False
