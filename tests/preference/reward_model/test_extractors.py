import dataclasses
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from tests.support.hub_cache import HubCache, hub_cache
from tests.support.tiny_bases import retrain

CPU = torch.device("cpu")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    return hub_cache(tmp_path / "hub", monkeypatch)


def test_versions_that_share_a_recipe_share_one_extractor_even_when_many_ask_at_once(tiny_base: Path, tmp_path: Path) -> None:
    extractors, recipe = Extractors(tmp_path, CPU), FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=64)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(extractors, [dataclasses.replace(recipe) for _ in range(8)]))
    assert len({id(extractor) for extractor in loaded}) == 1
    assert extractors(dataclasses.replace(recipe, layers=(1,))) is not loaded[0]


def test_versions_on_two_commits_with_the_same_weights_share_them_and_the_features(
    hub: HubCache, tiny_base: Path, tmp_path: Path
) -> None:
    hub.move_on(tiny_base)
    running = Extractors(tmp_path / "models", CPU)
    earlier = running(FeatureRecipe(hub.name, (2,), 64))  # of build e08322f, which named no commit
    commit = hub.move_on(tiny_base, change=lambda base: (base / "README.md").write_text("notes"))

    assert running(FeatureRecipe(hub.name, (2,), 64, commit)) is earlier
    hub.move_on(tiny_base, change=retrain)
    other = running(FeatureRecipe(hub.name, (2,), 64))
    assert other is not earlier and other.key != earlier.key
    assert running(FeatureRecipe(hub.name, (2,), 64, commit)) is earlier


def test_formats_never_mix_and_float32_keeps_the_features_of_earlier_builds(tiny_base: Path, tmp_path: Path) -> None:
    recipe = FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=64)
    single, half = (Extractors(tmp_path, CPU, dtype)(recipe) for dtype in ("float32", "bfloat16"))
    single.features(["Why?"], ["Because."])

    assert single.knows("Why?", "Because.") and not half.knows("Why?", "Because.")
    assert single.key == recipe.key() != half.key
    assert half.recipe == dataclasses.replace(single.recipe, dtype="bfloat16")
    half.features(["Why?"], ["Because."])
    assert (single.features(["Why?"], ["Because."]) != half.features(["Why?"], ["Because."])).any(), "each reads its own"


def test_a_backbone_that_no_version_uses_is_let_go(hub: HubCache, tiny_base: Path, tmp_path: Path) -> None:
    running = Extractors(tmp_path / "models", CPU)
    commits = [hub.move_on(tiny_base), hub.move_on(tiny_base, change=retrain)]
    unused, used = (weakref.ref(running(FeatureRecipe(hub.name, (2,), 64, commit))) for commit in commits)
    gc.collect()

    assert unused() is None
    assert used() is not None
