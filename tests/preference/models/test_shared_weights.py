import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import write_all
from preference.models.pretrained import load_weights
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.shared_base import BaseRecipe
from tests.conftest import SettingsFactory
from tests.support.adapters import publish_generator
from tests.support.hub_cache import hub_cache
from tests.support.tiny_bases import retrain
from tests.support.tolerance import REWARDS, assert_close

CPU = torch.device("cpu")


def shared(auto_class: Any, folder: Path, **options: Any) -> PreTrainedModel:
    # Not the format of the file: else both would be the file's pages, whoever loads them.
    return load_weights(auto_class, str(folder), **{"dtype": torch.bfloat16, "device": CPU, "is_shared": True, **options})


def places(model: PreTrainedModel) -> dict[str, int]:
    """Where each weight of the base lies in memory."""
    return {name: weight.data_ptr() for name, weight in model.base_model.named_parameters()}


def test_models_of_several_classes_and_depths_have_one_copy_of_their_base(tiny_base: Path) -> None:
    writer = shared(AutoModelForCausalLM, tiny_base)

    classifier = shared(AutoModelForSequenceClassification, tiny_base, num_labels=1)
    backbone = shared(AutoModel, tiny_base, num_hidden_layers=2)

    assert places(classifier) == places(writer)
    assert places(backbone).items() <= places(writer).items() and len(places(backbone)) > 10


def test_another_format_and_a_training_have_weights_of_their_own(tiny_base: Path) -> None:
    writer = shared(AutoModelForCausalLM, tiny_base)

    for options in ({"dtype": torch.float32}, {"is_shared": False}):
        other = shared(AutoModelForSequenceClassification, tiny_base, num_labels=1, **options)
        assert not set(places(other).values()) & set(places(writer).values()), options


def test_what_nothing_uses_any_more_is_given_back(tiny_base: Path) -> None:
    classifier = weakref.ref(shared(AutoModelForSequenceClassification, tiny_base, num_labels=1))
    gc.collect()

    assert classifier() is None


def test_a_folder_whose_files_were_replaced_is_not_taken_for_what_it_was(tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    writer = shared(AutoModelForCausalLM, folder)
    weights = {name: weight + 1 for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, tmp_path / "new.safetensors", metadata={"format": "pt"})
    (tmp_path / "new.safetensors").replace(folder / "model.safetensors")

    replaced = shared(AutoModel, folder)

    assert not set(places(replaced).values()) & set(places(writer).values())
    assert not torch.equal(next(replaced.base_model.parameters()), next(writer.base_model.parameters()))


def test_two_commits_of_an_id_have_weights_of_their_own(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    first = hub.move_on(tiny_base)
    writer = shared(AutoModelForCausalLM, Path(hub.name))
    assert places(shared(AutoModel, Path(hub.name), revision=first)) == places(writer)

    hub.move_on(tiny_base, change=retrain)

    newer = shared(AutoModel, Path(hub.name))
    assert not set(places(newer).values()) & set(places(writer).values())


def test_a_generators_adapter_changes_no_reward(tiny_chat_base: Path, settings_for: SettingsFactory) -> None:
    settings = settings_for(generator_model=str(tiny_chat_base), dtype="float32", max_new_tokens=4)
    engine = HuggingFaceGenerator(settings)
    extractors = Extractors(settings.model_dir, CPU)
    features = extractors(FeatureRecipe(str(tiny_chat_base), (1, 2), 64))
    base = extractors.shared_base(BaseRecipe(str(tiny_chat_base)))
    assert places(base.network) == places(engine._model)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = base.network.base_model(input_ids=ids).last_hidden_state
    seen = features.features(["Why?"], ["Because."], is_afresh=True)

    folder = ProjectFolder(settings.model_dir, 1)
    publish_generator(folder, settings, tiny_chat_base)
    adapter = Generators(folder).served()
    with_adapter, without = (write_all(engine, ["Why?"], seeds=[1], num_answers=1, adapter=used) for used in (adapter, None))
    write_all(engine, ["Why?"], seeds=[1], num_answers=1, adapter=adapter)

    assert with_adapter != without
    assert_close(base.network.base_model(input_ids=ids).last_hidden_state, before, within=REWARDS)
    assert_close(features.features(["Why?"], ["Because."], is_afresh=True), seen, within=REWARDS)
