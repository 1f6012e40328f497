from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig

from tests.support.adapters import by_peft
from tests.support.small_generators import random_model
from tests.support.tolerance import FEATURES, assert_close
from tests.support.word_models import SIZES
from trainer.generator_training.recipe import DPO
from trainer.generator_training.scaling import read_scale, scale_adapters
from trainer.generator_training.top_layers import TopLayers


def test_what_adapters_add_to_a_layer_is_multiplied(tmp_path: Path) -> None:
    layers = TopLayers(random_model(LlamaConfig(**SIZES)), DPO, seed=0)
    torch.manual_seed(1)
    for weights in layers.weights:
        torch.nn.init.normal_(weights, std=0.1)
    layers.save(tmp_path)
    before = load_file(tmp_path / "adapter_model.safetensors")
    assert read_scale(tmp_path) is None

    scale_adapters(tmp_path, 0.5)

    after = load_file(tmp_path / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    for name in (name for name in before if "lora_A" in name):
        up = name.replace("lora_A", "lora_B")
        assert_close(after[up] @ after[name], before[up] @ before[name] / 2, within=FEATURES)
    assert by_peft(random_model(LlamaConfig(**SIZES)), tmp_path) is not None
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    scale_adapters(tmp_path, 0.3)
    assert_close(read_scale(tmp_path) or 0, 0.15, within=FEATURES)
