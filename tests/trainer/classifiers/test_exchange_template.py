"""What other programs read is what the reward model reads, whatever the base's chat template does at the end of an answer."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from preference.labelling.prompts import Prompt, Turn, messages, turns_of
from preference.models.encoding import encode_answer
from preference.models.pretrained import load_tokenizer
from tests.support.tiny_bases import CHAT_TEMPLATE
from tests.support.tokenizer_families import FAMILIES
from trainer.classifiers.elsewhere import tokens_elsewhere
from trainer.classifiers.exchange_template import exchange_template

CONVERSATION = (Turn("system", " Be kind. "), Turn("user", "Hi "), Turn("assistant", "Yes."), Turn("user", "Why? "))
EXCHANGES: list[tuple[Prompt, str]] = [
    ("Why is it?", "Because. "),
    ("Why?", ""),
    (CONVERSATION, "No\n\nidea."),
    (CONVERSATION[:2], "  \n- a list\n- b"),
]
# What is written before an assistant's earlier turns is not what opens the next one (Qwen3), and nothing ends a text.
THINKS = (
    "\n{% for message in messages %}<|im_start|>{{ message.role }}\n{{ '<think></think>' if message.role == 'assistant' }}"
    "{{ message.content }}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}\n"
)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, THINKS])
def test_a_text_ends_with_the_answer_and_is_read_as_by_pairloop(tiny_chat_base: Path, template: str) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))
    tokenizer.chat_template = template
    read = [encode_answer(tokenizer, *exchange, max_tokens=500).input_ids for exchange in EXCHANGES]
    asked = [rendered(tokenizer, prompt) for prompt, _ in EXCHANGES]

    tokenizer.chat_template = exchange_template(tokenizer)

    assert [tokens_elsewhere(tokenizer, *exchange) for exchange in EXCHANGES] == read
    assert [encode_answer(tokenizer, *exchange, max_tokens=500).input_ids for exchange in EXCHANGES] == read
    assert [rendered(tokenizer, prompt) for prompt, _ in EXCHANGES] == asked


@pytest.mark.parametrize("family", ["byte_level", "word_piece", "llama_2", "mistral"])
def test_other_families_end_with_the_answer_too(family: str) -> None:
    tokenizer = FAMILIES[family]().tokenizer
    tokenizer.chat_template = exchange_template(tokenizer)

    for prompt, answer in EXCHANGES:
        ours = encode_answer(tokenizer, prompt, answer, max_tokens=500).input_ids
        theirs = tokens_elsewhere(tokenizer, prompt, answer)
        assert theirs[-1] == ours[-1] == tokenizer.eos_token_id
        assert theirs[-2] != tokenizer.eos_token_id


def test_a_base_without_a_template_gets_one(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    texts = [tokenizer.decode(encode_answer(tokenizer, *exchange, max_tokens=500).input_ids) for exchange in EXCHANGES]

    tokenizer.chat_template = exchange_template(tokenizer)

    assert [tokenizer.decode(tokens_elsewhere(tokenizer, *exchange)) for exchange in EXCHANGES] == texts


def rendered(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What the template makes of a prompt alone."""
    return str(tokenizer.apply_chat_template(messages(turns_of(prompt)), tokenize=False, add_generation_prompt=True))
