"""Tiny models of random weights, built from a config."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from preference.models.pretrained import load_weights

_SENTENCES = [
    "The cat sat on the mat and looked at the moon.",
    "A good answer is short, kind and true.",
    "Question: what is a reward model? Answer: a number for every answer.",
    "def add(a, b):\n    return a + b\n\n",
    "People prefer the answer that helps them; the other one is rejected.",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_base(
    folder: Path, *, chat_template: str | None = None, eos_token: str = "<|im_end|>", pad_token: str | None = "<|endoftext|>"
) -> Path:
    """Saves a Llama of 4 layers and hidden size 32 with its tokenizer; the same weights every time."""
    text = Tokenizer(models.BPE())
    text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", *dict.fromkeys(token for token in (eos_token, pad_token) if token)]
    text.train_from_iterator(
        _SENTENCES,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=text, eos_token=eos_token, pad_token=pad_token)
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_reward_model(
    folder: Path, *, num_labels: int = 1, chat_template: str | None = CHAT_TEMPLATE, scale: float = 50
) -> Path:
    """Saves the same as a sequence classifier with a head of its own, as the reward models of the field are.

    `scale`: how far its rewards are apart; a head of random weights gives nearly the same to all answers.
    """
    save_tiny_base(folder, chat_template=chat_template)
    torch.manual_seed(5)
    network = load_weights(AutoModelForSequenceClassification, str(folder), num_labels=num_labels, dtype=torch.float32)
    network.get_submodule("score").weight.mul_(scale)  # type: ignore[operator]
    network.save_pretrained(folder)
    return folder


def retrain(base: Path) -> None:
    """Replaces the weights by others of the same shape, under which the probe has another reward."""
    network = load_weights(AutoModelForCausalLM, str(base), dtype=torch.float32)
    network.get_input_embeddings().weight.mul_(-3)  # type: ignore[operator]
    network.save_pretrained(base)
