"""A sequence reward model of random weights over a tiny base."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from preference.models.pretrained import load_tokenizer, load_weights
from preference.reward_model.model import (
    Description,
    SequenceRewardModel,
)

MAX_TOKENS = 64


def make_sequence(base: Path) -> SequenceRewardModel:
    torch.manual_seed(3)
    network = load_weights(AutoModelForSequenceClassification, str(base), num_labels=1, dtype=torch.float32)
    return SequenceRewardModel(Description("sequence", str(base), MAX_TOKENS), network, load_tokenizer(str(base)))
