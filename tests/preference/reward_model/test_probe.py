"""A version is served only if what is loaded is what was published, whatever features were kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from preference.errors import VersionRefused
from preference.models.number_formats import ComputedIn
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_cache import FeatureCache
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version
from tests.support.hub_cache import HubCache, hub_cache
from tests.support.tiny_bases import retrain
from tests.support.tolerance import REWARDS, assert_close
from tests.support.versions import publish_version

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    folder = ProjectFolder(tmp_path / "models", 1)
    folder.create()
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    return hub_cache(tmp_path / "hub", monkeypatch)


def load(folder: ProjectFolder, version: str, extractors: Extractors | None = None) -> RewardModel:
    """The version in a new process, unless the `extractors` of one that runs are given."""
    extractors = extractors or Extractors(folder.path.parent.parent, CPU)
    return load_version(folder, version, extractor=extractors, device=CPU)


def reward(model: RewardModel) -> float:
    return float(model.score(["What is new?"], ["A text that nobody scored."])[0])


def probe_reward(folder: ProjectFolder, version: str) -> float:
    """The reward on its card."""
    return float(Versions(folder).card(version).probe["reward"])


def test_the_probe_is_computed_whatever_feature_of_it_was_kept(folder: ProjectFolder, tiny_base: Path) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    extractor = Extractors(folder.path.parent.parent, CPU)(FeatureRecipe(str(tiny_base), (2,), 64))
    cache = FeatureCache(folder.path.parent.parent, extractor.key, size=extractor.size)
    cache.keep([("Why?", "Because.")], [np.zeros(extractor.size, np.float32)])

    assert reward(load(folder, version)) > 0


def test_a_version_on_an_id_keeps_its_commit_when_the_id_moves_on(folder: ProjectFolder, hub: HubCache, tiny_base: Path) -> None:
    first = hub.move_on(tiny_base)
    version = publish_version(folder, hub.name, weight=1, layer_weight=10)
    before = reward(load(folder, version))
    hub.move_on(tiny_base, change=retrain)

    assert json.loads((Versions(folder).path(version) / "reward_model.json").read_text())["revision"] == first
    assert_close(reward(load(folder, version)), before, within=REWARDS)


def test_a_version_of_an_earlier_build_on_an_id_that_moved_on_is_refused(
    folder: ProjectFolder, hub: HubCache, tiny_base: Path
) -> None:
    hub.move_on(tiny_base)
    version = publish_version(folder, hub.name, weight=1, layer_weight=10)
    description = Versions(folder).path(version) / "reward_model.json"
    values = json.loads(description.read_text())
    description.write_text(json.dumps({name: value for name, value in values.items() if name != "revision"}))
    load(folder, version)
    hub.move_on(tiny_base, change=retrain)

    with pytest.raises(VersionRefused, match=r"^its probe scores .*; put back the base 'tests/tiny' that it was trained on"):
        load(folder, version)


@pytest.mark.parametrize(("made", "here"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")])
def test_a_version_is_served_on_a_machine_that_computes_in_another_number_format(
    folder: ProjectFolder, tiny_base: Path, made: ComputedIn, here: ComputedIn
) -> None:
    """Its reward differs by more than a version may that was made and is loaded in float32."""
    seen, length = (
        probe_reward(folder, publish_version(folder, tiny_base, weight=weight, layer_weight=200 - 200 * weight))
        for weight in (0, 1)
    )
    version = publish_version(folder, tiny_base, weight=-seen / length, layer_weight=200, dtype=made)
    expected = probe_reward(folder, version)
    model = load(folder, version, Extractors(folder.path.parent.parent, CPU, here))
    apart = abs(float(model.score(["Why?"], ["Because."])[0]) - expected)

    assert (model.description.dtype, model.dtype) == (made, here)
    assert abs(expected) < 1
    assert apart > 0.01 or made == here


@pytest.mark.parametrize("here", ["float32", "bfloat16"])
def test_other_weights_are_refused_in_either_number_format(
    folder: ProjectFolder, tiny_base: Path, tmp_path: Path, here: ComputedIn
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    version = publish_version(folder, base, weight=1, layer_weight=40, dtype="bfloat16")
    retrain(base)

    with pytest.raises(VersionRefused, match=rf"^its probe scores .*; put back the base '{base}' that it was trained on"):
        load(folder, version, Extractors(folder.path.parent.parent, CPU, here))


def test_a_base_folder_that_is_replaced_needs_no_restart(folder: ProjectFolder, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    running = Extractors(folder.path.parent.parent, CPU)
    older = publish_version(folder, base, weight=1, layer_weight=10)
    served = load(folder, older, running)
    before = reward(served)
    retrain(base)
    newer = publish_version(folder, base, weight=1, layer_weight=10)

    assert abs(reward(load(folder, newer, running)) - before) > 0.01
    assert_close(reward(served), before, within=REWARDS)  # what is served goes on with the old one
    with pytest.raises(VersionRefused, match=rf"^its probe scores .*; put back the base '{base}' that it was trained on"):
        load(folder, older, running)


def test_a_base_that_is_away_does_not_keep_a_version_from_what_is_in_memory(
    folder: ProjectFolder, tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    running = Extractors(folder.path.parent.parent, CPU)
    versions = [publish_version(folder, base, weight=weight) for weight in (1, 2)]
    load(folder, versions[0], running)
    base.rename(tmp_path / "away")

    assert reward(load(folder, versions[1], running)) > 0
