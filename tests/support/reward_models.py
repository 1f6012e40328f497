"""Reward models of random weights over a tiny base."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from preference.models.low_rank import LowRankAdapter
from preference.models.number_formats import NumberFormat
from preference.models.pretrained import load_tokenizer, load_weights
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import AdapterRewardModel, Description, SequenceRewardModel
from preference.reward_model.shared_base import load_classifier
from trainer.training.lora import begun, taken_off
from trainer.training.recipes import LORA

MAX_TOKENS = 64


def make_sequence(base: Path) -> SequenceRewardModel:
    torch.manual_seed(3)
    network = load_weights(AutoModelForSequenceClassification, str(base), num_labels=1, dtype=torch.float32)
    return SequenceRewardModel(Description("sequence", str(base), MAX_TOKENS), network, load_tokenizer(str(base)))


def random_adapter(base: Path | str, *, seed: int = 3, size: float = 0.3) -> tuple[LowRankAdapter, Any]:
    """An adapter and a head that change every layer, as they are stored; and the same by peft, merged into a network in float32."""
    torch.manual_seed(seed)
    model = begun(load_classifier(str(base), dtype="float32"), LORA)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=size)
    adapter = taken_off(model, base=str(base), revision="")
    merged: Any = model
    return adapter, merged.merge_and_unload().eval()


def make_adapter(base: Path, extractors: Extractors, *, seed: int = 3, dtype: NumberFormat = "float32") -> AdapterRewardModel:
    description = Description("adapter", str(base), MAX_TOKENS, dtype=dtype)
    return AdapterRewardModel(description, random_adapter(base, seed=seed)[0], extractors.shared_base(description.base_recipe))
