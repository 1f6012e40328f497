from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from preference.models.pretrained import load_tokenizer


@pytest.fixture(scope="module")
def plain(tiny_base: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(tiny_base))


@pytest.fixture(scope="module")
def chat(tiny_chat_base: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(tiny_chat_base))
