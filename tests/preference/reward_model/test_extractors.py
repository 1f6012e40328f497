import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe

CPU = torch.device("cpu")


def test_versions_that_share_a_recipe_share_one_extractor_even_when_many_ask_at_once(tiny_base: Path, tmp_path: Path) -> None:
    extractors, recipe = Extractors(tmp_path, CPU), FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=64)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(extractors, [dataclasses.replace(recipe) for _ in range(8)]))
    assert len({id(extractor) for extractor in loaded}) == 1
    assert extractors(dataclasses.replace(recipe, layers=(1,))) is not loaded[0]
