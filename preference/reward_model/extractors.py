"""The feature extractors of a process: one backbone in memory for all versions whose features are the same."""

import threading
from pathlib import Path
from weakref import WeakValueDictionary

import torch

from preference.errors import ModelError
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe


class Extractors:
    """Gives the extractor of a recipe; versions with the same features share a backbone in memory, until none of them is used.

    The same are those of two commits of an id that differ in its README, say. Those of a folder whose files were replaced are not.
    """

    def __init__(self, model_dir: Path, device: torch.device) -> None:
        self.model_dir, self.device = model_dir, device
        self._used: WeakValueDictionary[tuple[str, str], FeatureExtractor] = WeakValueDictionary()  # by base and key
        self._latest: FeatureExtractor | None = None  # also if none uses it: of one that is loaded twice, say
        self._keys: dict[FeatureRecipe, str] = {}  # when they were last asked for
        self._loading = threading.Lock()

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        """The extractor, loaded at the first call, and at the first after its base was replaced.

        Raises:
            ModelError: the base cannot be loaded.
        """
        with self._loading:
            try:
                key = recipe.key(self.model_dir)
            except ModelError:
                key = self._keys.get(recipe, "")
                if (recipe.base, key) not in self._used:
                    raise
                # Its files are away, and it is whole in memory.
            extractor = self._used.get((recipe.base, key))
            if extractor is None:
                self._latest = None  # before another takes its memory
                extractor = FeatureExtractor(recipe, model_dir=self.model_dir, device=self.device)
                self._used[recipe.base, extractor.key] = extractor
            self._latest, self._keys[recipe] = extractor, extractor.key
            return extractor
