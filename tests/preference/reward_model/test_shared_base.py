"""Versions that are adapters on one base, which is in memory once."""

import dataclasses
import gc
import shutil
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from preference.errors import ModelError
from preference.models.low_rank import WEIGHTS
from preference.models.pretrained import load_tokenizer, locate
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import AdapterRewardModel, Description, SequenceRewardModel, load_saved
from preference.reward_model.shared_base import BaseRecipe
from tests.support.four_bit import needs_bitsandbytes
from tests.support.reward_models import make_adapter, random_adapter
from tests.support.tolerance import REWARDS, assert_close

CPU = torch.device("cpu")
PROMPTS = ["Why?", "Tell me about cats.", "0123456789 " * 30]
ANSWERS = ["Because.", "The cat sat on the mat. " * 5, "No."]


@pytest.fixture
def extractors(tmp_path: Path) -> Extractors:
    return Extractors(tmp_path / "models", CPU)


@pytest.fixture
def folder(tiny_base: Path, extractors: Extractors, tmp_path: Path) -> Path:
    """A version on a copy of the tiny base, which a test may change: `base` beside it."""
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    folder = tmp_path / "version"
    folder.mkdir()
    make_adapter(base, extractors).save(folder)
    return folder


def load(folder: Path, extractors: Extractors) -> AdapterRewardModel:
    model = load_saved(folder, extractor=extractors, device=CPU)
    assert isinstance(model, AdapterRewardModel)
    return model


def by_merging(base: Path, seed: int) -> torch.Tensor:
    """The rewards of the merged float32 model that such a version was stored as before."""
    network = random_adapter(base, seed=seed)[1]
    description = Description("sequence", str(base), 64)
    return SequenceRewardModel(description, network, load_tokenizer(str(base))).score(PROMPTS, ANSWERS)


def test_versions_on_one_base_share_it_and_each_gives_the_rewards_of_its_merged_model(
    tiny_base: Path, extractors: Extractors
) -> None:
    models = [make_adapter(tiny_base, extractors, seed=seed) for seed in (1, 2, 3)]
    assert len({id(model.network) for model in models}) == 1
    merged = [by_merging(tiny_base, seed) for seed in (1, 2, 3)]
    assert (merged[0] - merged[1]).abs().max() > 0.1

    with ThreadPoolExecutor(4) as pool:
        scored = list(pool.map(lambda n: models[n % 3].score(PROMPTS, ANSWERS), range(12)))

    for number, rewards in enumerate(scored):
        assert_close(rewards, merged[number % 3], within=1e-3)  # what is stored is rounded to float16


def test_peft_loads_a_version_and_gives_its_rewards(folder: Path, extractors: Extractors) -> None:
    with warnings.catch_warnings():  # as in trainer/training/lora.py
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        network = AutoPeftModelForSequenceClassification.from_pretrained(
            folder, num_labels=1
        )  # which looks up the base by itself
    peft = SequenceRewardModel(Description("sequence", "any", 64), network, load_tokenizer(str(folder)))

    assert_close(load(folder, extractors).score(PROMPTS, ANSWERS), peft.score(PROMPTS, ANSWERS), within=REWARDS)


def test_a_version_of_the_embedded_base_takes_13_mb_and_gives_the_rewards_of_its_merged_model(
    embedded_dir: Path, tmp_path: Path
) -> None:
    base, extractors = Path(locate("embedded", embedded_dir)), Extractors(embedded_dir, CPU)
    adapter, network = random_adapter(base, size=0.01)
    description = Description("adapter", "embedded", 1024)
    AdapterRewardModel(description, adapter, extractors.shared_base(description.base_recipe)).save(tmp_path)

    served = load(tmp_path, extractors).score(["Why?"] * 2, ["Because.", "No."])

    merged = SequenceRewardModel(description, network, load_tokenizer(str(base))).score(["Why?"] * 2, ["Because.", "No."])
    assert_close(served, merged, within=1e-3)
    assert abs(float(served[0] - served[1])) > 0.1
    num_bytes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert num_bytes < 20e6, f"{num_bytes / 1e6:.0f} MB, and 517 as a merged model"


def test_a_base_that_no_version_uses_is_let_go(tiny_base: Path, extractors: Extractors) -> None:
    model = make_adapter(tiny_base, extractors)
    base = weakref.ref(model.base)
    del model
    extractors.shared_base(BaseRecipe(str(tiny_base), dtype="bfloat16"))  # the latest stays, and is another now
    gc.collect()

    assert base() is None


def test_in_bfloat16_adapters_and_head_compute_in_float32(tiny_base: Path, extractors: Extractors) -> None:
    exact = make_adapter(tiny_base, extractors)
    description = dataclasses.replace(exact.description, dtype="bfloat16")
    base = extractors.shared_base(description.base_recipe)
    rewards = AdapterRewardModel(description, exact.adapter, base).score(PROMPTS, ANSWERS)

    assert {weight.dtype for name, weight in base.network.named_parameters() if "score" not in name} == {torch.bfloat16}
    assert not torch.equal(rewards, rewards.bfloat16().float())
    assert_close(rewards, exact.score(PROMPTS, ANSWERS), within=0.05)


@needs_bitsandbytes
def test_over_a_base_in_nf4_adapters_give_what_they_give_over_the_same_weights_unpacked(
    tiny_base: Path, extractors: Extractors, tmp_path: Path
) -> None:
    model = make_adapter(tiny_base, extractors, dtype="nf4")
    exact = make_adapter(tiny_base, extractors)
    weights = dict(model.network.named_parameters())
    packed = {name for name, weight in weights.items() if weight.dtype == torch.uint8}
    assert len(packed) == 4 * 7 and {weights[name].dtype for name in weights.keys() - packed} == {torch.bfloat16, torch.float32}
    assert weights["score.weight"].dtype == torch.float32

    rewards = model.score(PROMPTS, ANSWERS)

    for name in packed:  # of the float32 base, which no other test has
        unpacked = dequantize_bnb_weight(weights[name])
        exact.network.get_submodule(name.removesuffix(".weight")).weight = torch.nn.Parameter(
            unpacked.float(), requires_grad=False
        )
    assert_close(rewards, exact.score(PROMPTS, ANSWERS), within=0.1)  # of rounding to bfloat16
    model.save(tmp_path)
    again = load(tmp_path, Extractors(tmp_path / "others", CPU))
    assert again.description.dtype == "nf4" and again.network is not model.network
    assert_close(again.score(PROMPTS, ANSWERS), rewards, within=REWARDS)


# What goes wrong


def refusal(folder: Path, extractors: Extractors) -> str:
    with pytest.raises(ModelError) as caught:
        load_saved(folder, extractor=extractors, device=CPU)
    return str(caught.value)


def test_a_base_of_another_shape_is_named(folder: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(folder.parent / "base", intermediate_size=48)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder.parent / "base")

    assert refusal(folder, Extractors(tmp_path / "other", CPU)) == (
        f"The adapter is of another base than {str(folder.parent / 'base')!r}: model.layers.0.mlp.down_proj is no linear layer of 64 to "
        "32 here; put back the one that it was trained on."
    )


@needs_bitsandbytes
def test_a_base_in_nf4_of_another_shape_is_named(tiny_base: Path, extractors: Extractors) -> None:
    wide = torch.nn.Linear(32, 64).weight
    model = make_adapter(tiny_base, extractors, dtype="nf4")
    name, low_rank = next(iter(model.adapter.layers.items()))
    other = dataclasses.replace(model.adapter, layers={name: dataclasses.replace(low_rank, up=wide)})

    with pytest.raises(ModelError, match=f"{name} is no linear layer of .* to 64 here"):
        model.base.place(other)


def test_a_base_with_fewer_layers_is_named(folder: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(folder.parent / "base", num_hidden_layers=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder.parent / "base")

    assert "there is no layer model.layers.2.mlp.down_proj here" in refusal(folder, Extractors(tmp_path / "other", CPU))


def test_a_base_that_is_away_keeps_no_version_from_the_one_in_memory(
    folder: Path, extractors: Extractors, tmp_path: Path
) -> None:
    first = load(folder, extractors)
    (folder.parent / "base").rename(folder.parent / "away")

    assert_close(load(folder, extractors).score(PROMPTS, ANSWERS), first.score(PROMPTS, ANSWERS), within=REWARDS)
    assert f"The model '{folder.parent / 'base'}' cannot be loaded (" in refusal(folder, Extractors(tmp_path / "other", CPU))


def test_an_adapter_without_a_score_head_is_refused(folder: Path, extractors: Extractors) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({key: tensor for key, tensor in tensors.items() if "score" not in key}, folder / WEIGHTS)

    assert (
        refusal(folder, extractors)
        == f"An adapter on {str(folder.parent / 'base')!r} brings no score head, so it is no reward model."
    )
