import json
import logging
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CohereConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    Qwen3Config,
    XLNetConfig,
)

from preference.errors import TrainingError
from preference.models.number_formats import NumberFormat
from preference.models.pretrained import load_config, load_weights
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import load_saved
from tests.support.four_bit import needs_bitsandbytes
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close, assert_same_weights
from tests.support.trainings import CPU, Bench, quick, score, weights_of
from trainer.training.lora import begun
from trainer.training.memory_plan import MemoryPlan, plan_memory
from trainer.training.recipes import FULL, LORA, Recipe

GB = 1_000_000_000
SEVEN = LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
    pad_token_id=0,
)  # fmt: skip


def plan(free: int, recipe: Recipe = LORA, *, config: Any = SEVEN, dtype: NumberFormat = "bfloat16") -> MemoryPlan:
    return plan_memory(config, recipe, dtype=dtype, tokens=1024, most_at_once=recipe.batch_pairs, free=free)


def test_the_weights_of_a_7b_are_counted_and_none_is_allocated() -> None:
    before = psutil.Process().memory_info().rss

    planned = plan(80 * GB)

    num_learning = 32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008)) + 4096
    assert planned.weights == 2 * 6_607_347_712 + 4 * num_learning
    assert (planned.gradients, planned.optimizer) == (4 * num_learning, 8 * num_learning)
    assert psutil.Process().memory_info().rss - before < GB / 2


def test_a_7b_in_nf4_takes_a_third_of_the_memory_of_one_in_bfloat16() -> None:
    packed, halved = plan(80 * GB, dtype="nf4"), plan(80 * GB)

    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    unpacked = 4096 * 11008  # one layer at a time
    assert halved.weights - packed.weights == 2 * linear - 9 * linear // 16 - 2 * unpacked
    assert packed.weights < 4.5 * GB and packed.gradients == halved.gradients
    assert plan(8 * GB, dtype="nf4").is_checkpointed


def test_memory_decides_how_many_pairs_a_7b_reads_at_once_and_whether_it_reads_them_twice() -> None:
    plans = {free: plan(free * GB) for free in (17, 24, 40, 80, 141)}

    assert {free: (each.pairs_at_once, each.is_checkpointed) for free, each in plans.items()} == {
        17: (1, True), 24: (4, True), 40: (1, False), 80: (2, False), 141: (4, False),
    }  # fmt: skip
    assert all(each.total < free * GB for free, each in plans.items())
    assert str(plans[24]) == (
        "20.6 GB: weights 13.4 GB, gradients 160 MB, optimizer 320 MB, activations 6.7 GB (4 pairs of up to 1024 tokens at once, "
        "computed twice to save memory)"
    )


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(TrainingError) as lora:
        plan(12 * GB)
    with pytest.raises(TrainingError) as full:
        plan(80 * GB, FULL)

    assert str(lora.value) == (
        "RECIPE=lora takes 15.5 GB: weights 13.4 GB, gradients 160 MB, optimizer 320 MB, activations 1.7 GB (1 pair of up to 1024 "
        "tokens at once, computed twice to save memory), and 12.0 GB are free; take a smaller REWARD_BASE, RECIPE=frozen, a smaller "
        "max_tokens in trainer/training/recipes.py, or more memory."
    )
    assert "weights 39.6 GB, gradients 26.4 GB, optimizer 52.9 GB" in str(full.value) and "RECIPE=lora" in str(full.value)


@pytest.mark.parametrize("recipe", [LORA, FULL], ids=lambda recipe: str(recipe.name))
def test_as_much_is_planned_as_a_step_keeps(recipe: Recipe, tiny_base: Path) -> None:
    """A forward pass on the CPU, of which autograd says what it saves; a mask, and a layer's work, are beside it."""
    network: Any = load_weights(AutoModelForSequenceClassification, str(tiny_base), num_labels=1, dtype=torch.float32)
    network = begun(network, recipe) if recipe.lora_rank else network.requires_grad_(True)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.ones(4, 1024, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    weights = {weight.data_ptr() for weight in network.parameters()}
    num_bytes = sum(size for place, size in kept.items() if place not in weights)

    planned = plan_memory(load_config(str(tiny_base)), recipe, dtype="float32", tokens=1024, most_at_once=2, free=GB)

    assert planned.activations is not None and not planned.is_checkpointed
    assert num_bytes <= planned.activations <= 1.5 * num_bytes, "of four layers, and one more for its work"


def test_an_architecture_with_attention_of_its_own_is_planned_without_activations() -> None:
    planned = plan(GB, FULL, config=XLNetConfig(d_model=32, n_layer=3, n_head=4, d_inner=64, vocab_size=100))

    assert planned.activations is None and "activations that are not known" in str(planned)
    assert planned.optimizer > 0


@pytest.mark.parametrize("config", [BertConfig, Qwen3Config])
def test_other_architectures_are_planned_too(config: Any) -> None:
    shape = config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, vocab_size=100, pad_token_id=0
    )

    assert (plan(GB, config=shape, dtype="float32").activations or 0) > 0


@pytest.mark.parametrize("config", [CohereConfig, GraniteConfig, MambaConfig])
def test_a_base_without_a_sequence_classifier_is_refused_in_a_sentence(config: Any) -> None:
    with pytest.raises(TrainingError) as refused:
        plan(GB, config=config())

    assert str(refused.value) == (
        f"transformers has no sequence classifier over a base of {config.model_type}, which RECIPE=lora trains; "
        "take RECIPE=frozen, or another REWARD_BASE: a Llama or Qwen, say."
    )


# A training by its plan


def test_a_training_says_what_it_takes_and_one_that_computes_twice_ends_with_the_same_weights(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")
    trained = []
    for name, free in (("much", GB), ("little", 1_500_000)):
        (tmp_path / name).mkdir()
        bench = Bench(tiny_base, tmp_path / name, free_bytes=free)
        trained.append(weights_of(bench.fit(separable_pairs(8), quick("lora"))))

    much, little = [message for message in caplog.messages if message.startswith("training lora takes ")]
    assert "computed twice" not in much and "computed twice" in little
    assert_same_weights(*trained)


def test_a_training_that_cannot_fit_begins_not(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"^RECIPE=full takes [^;]*, and 0 MB are free; take a smaller REWARD_BASE, RECIPE=lora"
    ):
        Bench(tiny_base, tmp_path, free_bytes=1000).fit(separable_pairs(4), quick())


def test_a_base_in_bfloat16_learns_with_adapters_in_float32(tiny_base: Path, tmp_path: Path) -> None:
    bench = Bench(tiny_base, tmp_path, dtype="bfloat16")

    model = bench.fit(separable_pairs(24), quick("lora", learning_rate=0.01))

    assert model.description.dtype == "bfloat16"
    assert model.network.dtype == torch.bfloat16
    chosen, rejected = (model.score([p.prompt for p in separable_pairs(24, start=100)], [getattr(p, side) for p in separable_pairs(24, start=100)]) for side in ("chosen", "rejected"))  # fmt: skip
    assert (chosen > rejected).float().mean() >= 0.9


@needs_bitsandbytes
def test_a_base_in_nf4_learns_with_adapters_in_float32_and_is_loaded_as_it_was(tiny_base: Path, tmp_path: Path) -> None:
    bench = Bench(tiny_base, tmp_path, dtype="nf4")
    learning: set[torch.dtype] = set()

    def look(optimizer: torch.optim.Optimizer, *_: object) -> None:
        learning.update(weight.dtype for group in optimizer.param_groups for weight in group["params"])

    handle = register_optimizer_step_pre_hook(look)
    try:
        model = bench.fit(separable_pairs(24), quick("lora", learning_rate=0.01))
    finally:
        handle.remove()

    assert learning == {torch.float32}
    chosen, rejected = score(model, separable_pairs(24, start=100))
    assert (chosen > rejected).float().mean() >= 0.9
    (tmp_path / "version").mkdir()
    model.save(tmp_path / "version")
    assert json.loads((tmp_path / "version" / "reward_model.json").read_text())["dtype"] == "nf4"
    loaded = load_saved(tmp_path / "version", extractor=Extractors(tmp_path / "models", CPU), device=CPU)
    assert_close(score(loaded, separable_pairs(24, start=100))[0], chosen, within=REWARDS)
    again = bench.fit(
        separable_pairs(4), quick("lora", epochs=1, learning_rate=1e-12), start="champion", champion=tmp_path / "version"
    )
    assert_close(score(again, separable_pairs(8))[0], score(model, separable_pairs(8))[0], within=TRAINED_REWARDS)
