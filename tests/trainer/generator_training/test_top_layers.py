from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
)

from preference.errors import TrainingError
from preference.generation.log_probs import log_probs
from tests.support.adapters import by_peft
from tests.support.small_generators import ARCHITECTURES, random_model, token_pairs
from tests.support.tolerance import FEATURES, assert_close
from tests.support.word_models import NUM_WORDS, SIZES
from trainer.generator_training.recipe import DPO
from trainer.generator_training.top_layers import TopLayers


def wake(layers: TopLayers, *, size: float = 0.1) -> None:
    """Gives every adapter random numbers, as training does."""
    torch.manual_seed(1)
    for weights in layers.weights:
        torch.nn.init.normal_(weights, std=size)


@pytest.mark.parametrize("make", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_the_top_layers_alone_give_what_the_whole_model_gives(make: Callable[[], PreTrainedConfig]) -> None:
    model = random_model(make())
    layers = TopLayers(model, DPO, seed=0)
    texts = [text for pair in token_pairs(3, vocabulary=NUM_WORDS) for text in pair]
    read = [layers.read(text) for text in texts]
    before = [float(log_probs(model, text.ids, start=text.start).detach().sum()) for text in texts]
    wake(layers)

    whole = [float(log_probs(model, text.ids, start=text.start).detach().sum()) for text in texts]

    assert_close([text.reference for text in read], before, within=FEATURES)
    assert_close([float(layers.log_prob(text).detach()) for text in read], whole, within=FEATURES)
    assert min(abs(now - then) for now, then in zip(whole, before, strict=True)) > 0.01


def test_a_text_is_as_likely_as_transformers_says() -> None:
    model: Any = random_model(LlamaConfig(**SIZES))
    ((text, _),) = token_pairs(1, vocabulary=NUM_WORDS)

    wanted = model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)

    expected = [float(wanted[place - 1, text.ids[place]]) for place in range(text.start, len(text.ids))]
    assert_close(log_probs(model, text.ids, start=text.start), expected, within=FEATURES)


def test_only_adapters_of_the_top_third_learn() -> None:
    model = random_model(LlamaConfig(**{**SIZES, "num_hidden_layers": 6}))
    layers = TopLayers(model, DPO, seed=0)

    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}

    assert layers.first == 4
    assert {name.split(".")[2] for name in learning} == {"4", "5"}
    assert all("lora_" in name for name in learning)
    assert len(learning) == len(layers.weights) == 2 * 7 * 2  # of seven linear layers in each, two matrices


def test_adapters_are_saved_as_peft_reads_them(tmp_path: Path) -> None:
    config = LlamaConfig(**SIZES)
    layers = TopLayers(random_model(config), DPO, seed=0)
    ((text, _),) = token_pairs(1, vocabulary=NUM_WORDS)
    read = layers.read(text)
    wake(layers)

    layers.save(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    loaded = by_peft(random_model(config), tmp_path)
    likely = loaded(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1).detach()
    total = sum(float(likely[place - 1, text.ids[place]]) for place in range(text.start, len(text.ids)))
    assert_close(total, float(layers.log_prob(read).detach()), within=FEATURES)


def test_half_precision_learns_in_float32() -> None:
    model = random_model(LlamaConfig(**SIZES), dtype=torch.bfloat16)

    layers = TopLayers(model, DPO, seed=0)

    ((text, _),) = token_pairs(1, vocabulary=NUM_WORDS)
    read = layers.read(text)
    assert {weight.dtype for weight in layers.weights} == {torch.float32}
    assert read.hidden.dtype == torch.bfloat16
    assert float(layers.log_prob(read).detach()) == pytest.approx(read.reference, rel=0.02)


def test_a_model_without_linear_layers_is_refused() -> None:
    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)  # they are convolutions by name

    with pytest.raises(TrainingError, match="A gpt2 model has no linear layers that adapters can be put on; name another"):
        TopLayers(random_model(config), DPO, seed=0)


def test_a_model_whose_top_needs_more_than_the_layer_below_gives_is_refused() -> None:
    model = random_model(LlamaConfig(**SIZES))
    layers = TopLayers(model, DPO, seed=0)
    ((text, _),) = token_pairs(1, vocabulary=NUM_WORDS)
    seen: list[torch.Tensor] = []
    inner: Any = model
    inner.model.layers[0].mlp.register_forward_hook(lambda module, args, output: seen.append(output))
    inner.model.norm.register_forward_hook(lambda module, args, output: output + seen.pop())  # fails if there is none

    with pytest.raises(TrainingError, match=r"The top layers of a llama model cannot be trained alone \(IndexError\)"):
        layers.read(text)
