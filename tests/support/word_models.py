"""Models of random weights whose tokens are words: for the tests of the huggingface engine."""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from backend.generators.engines import ENGINES
from preference.generation.jobs import Generator
from tests.conftest import SettingsFactory
from tests.support.watched import Watched

MakeGenerator = Callable[..., Generator]

NUM_WORDS = 200
SIZES: dict[str, Any] = {
    "vocab_size": NUM_WORDS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip


def maker(settings_for: SettingsFactory) -> MakeGenerator:
    """Makes a generator of a folder; keyword arguments are settings."""

    def make(folder: Path, **changes: Any) -> Generator:
        fields = {"max_new_tokens": 8, "batch_prompts": 2, "dtype": "float32", **changes}
        return ENGINES["huggingface"](settings_for(generator_model=str(folder), **fields))

    return make


def save_words(
    folder: Path, config: PreTrainedConfig, *, ends: Sequence[int] = (), names: Mapping[int, str] = MappingProxyType({})
) -> Path:
    """A model of random weights whose tokens are words, so that a text shows its tokens; an answer ends at 1 and at `ends`.

    `names`: of tokens that are other words than `w` and their number.
    """
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.15)  # larger than trained models begin with: what is far off matters
    model.generation_config.eos_token_id = [1, *ends]
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    words = {"<pad>": 0, "<end>": 1, **{names.get(k, f"w{k}"): k for k in range(2, NUM_WORDS)}}
    text = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=text, eos_token="<end>", pad_token="<pad>").save_pretrained(folder)
    return folder


def words_of(*lengths: int) -> list[str]:
    numbers = random.Random(0)
    return [" ".join(f"w{numbers.randrange(2, NUM_WORDS)}" for _ in range(length)) for length in lengths]


def has_refilled(jobs: Watched) -> bool:
    """Whether the batch shrank, and grew again before it was empty."""
    shrank = [k for k, (before, after) in enumerate(pairwise(jobs.sizes)) if after < before]
    return bool(shrank) and any(0 < before < after for before, after in pairwise(jobs.sizes[shrank[0] :]))
