"""What a process loads once for all versions that share it: the feature extractors of `frozen` ones, the bases of adapters."""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar, cast
from weakref import WeakValueDictionary

import torch

from preference.errors import ModelError
from preference.models.hardware import feature_dtype
from preference.models.number_formats import ComputedIn, NumberFormat
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.shared_base import BaseRecipe, SharedBase


class _Loaded(Protocol):
    """What was loaded."""

    key: str


_L = TypeVar("_L", bound=_Loaded)


class Extractors:
    """Gives the extractor or the base of a recipe; versions with the same share it in memory, until none of them uses it.

    The same are those of two commits of an id that differ in its README, say. Those of a folder whose files were replaced are not.
    An extractor and a base of one name are two: the first has fewer layers, and no head.
    """

    def __init__(self, model_dir: Path, device: torch.device, dtype: Literal["auto"] | NumberFormat = "float32") -> None:
        """`dtype`: in which frozen bases read answers, as REWARD_DTYPE says it; a recipe's own is no matter."""
        self.model_dir, self.device, self._dtype = model_dir, device, dtype
        self._used: WeakValueDictionary[tuple[type, str, str], _Loaded] = WeakValueDictionary()  # by kind, base and key
        self._latest: _Loaded | None = None  # also if none uses it: of one that is loaded twice, say
        self._keys: dict[FeatureRecipe | BaseRecipe, str] = {}  # when they were last asked for
        self._kept: list[_Loaded] = []
        self._taking_turns = threading.Lock()
        self._loading: defaultdict[tuple[type, str], threading.Lock] = defaultdict(threading.Lock)  # by kind and base

    def with_nothing_loaded(self) -> Self:
        """The same, for when a training needs the memory that all this takes."""
        return type(self)(self.model_dir, self.device, self._dtype)

    @cached_property
    def feature_dtype(self) -> ComputedIn:
        """The number format in which frozen bases read answers."""
        return feature_dtype(self._dtype, self.device)

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        """The extractor, loaded at the first call, and at the first after its base was replaced.

        Raises:
            ModelError: the base cannot be loaded.
        """
        recipe = replace(recipe, dtype=self.feature_dtype)
        return self._find(
            recipe, FeatureExtractor, lambda: FeatureExtractor(recipe, model_dir=self.model_dir, device=self.device)
        )

    def shared_base(self, recipe: BaseRecipe) -> SharedBase:
        """The base, loaded likewise.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._find(recipe, SharedBase, lambda: SharedBase(recipe, model_dir=self.model_dir, device=self.device))

    def keep(self, recipe: FeatureRecipe | BaseRecipe) -> None:
        """Loads what a recipe names, and keeps it in memory for good.

        Raises:
            ModelError: it cannot be loaded.
        """
        self._kept.append(self(recipe) if isinstance(recipe, FeatureRecipe) else self.shared_base(recipe))

    def _find(self, recipe: FeatureRecipe | BaseRecipe, kind: type[_L], load: Callable[[], _L]) -> _L:
        with self._taking_turns:
            loading = self._loading[kind, recipe.base]
        with loading:  # nobody waits for another base, which may be fetched for minutes
            try:
                key = recipe.key(self.model_dir)
            except ModelError:
                key = self._keys.get(recipe, "")
                if (kind, recipe.base, key) not in self._used:
                    raise
                # Its files are away, and it is whole in memory.
            loaded = cast("_L | None", self._used.get((kind, recipe.base, key)))
            if loaded is None:
                self._latest = None  # before another takes its memory
                loaded = load()
                self._used[kind, recipe.base, loaded.key] = loaded
            self._latest, self._keys[recipe] = loaded, loaded.key
            return loaded


@lru_cache(maxsize=1)
def process_extractors(model_dir: Path, device: torch.device, dtype: Literal["auto"] | NumberFormat) -> Extractors:
    """Those of this process. One that is forked from it has what was loaded before the fork, without taking memory for it."""
    return Extractors(model_dir, device, dtype)
