"""What several test files share: tiny models built from a config, settings, and a folder for the embedded model."""

import gc
import os

gc.disable()  # until all is collected: what is imported are millions of objects, none of them garbage
os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported; no test may reach the network
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # workers and the processes that they start share few cores

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.studio_double import KEY, StudioDouble

pytest_plugins = ["tests.support.slowest_files"]
torch.set_num_threads(1)

REPOSITORY = Path(__file__).parent.parent
SettingsFactory = Callable[..., Settings]

_SENTENCES = [
    "The cat sat on the mat and looked at the moon.",
    "A good answer is short, kind and true.",
    "Question: what is a reward model? Answer: a number for every answer.",
    "def add(a, b):\n    return a + b\n\n",
    "People prefer the answer that helps them; the other one is rejected.",
]
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pytest_collection_finish() -> None:
    """From here on Python looks for garbage among the tests' own objects only; a gc.collect() of all takes a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def studio() -> Iterator[StudioDouble]:
    """A double of Label Studio, running."""
    with StudioDouble() as double:
        yield double


@pytest.fixture
def project(studio: StudioDouble, settings_for: SettingsFactory) -> LabelStudioProject:
    """A project of it, whose calls are soon given up."""
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    return LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=5)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 4-layer Llama of random weights and a byte-level BPE tokenizer without a chat template."""
    return save_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-base")


@pytest.fixture(scope="session")
def tiny_chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights and tokenizer as `tiny_base`, with a chat template."""
    return save_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-chat-base", chat_template=_CHAT_TEMPLATE)


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFactory:
    """Makes settings whose MODEL_DIR is in this test's folder, without a control group; keyword arguments replace the defaults."""

    def make(**changes: Any) -> Settings:
        return Settings.of(
            **{"model_dir": tmp_path / "models", "device": "cpu", "torch_threads": 1, "control_percent": 0, **changes}
        )

    return make


@pytest.fixture(scope="session")
def embedded_dir() -> Path:
    """A MODEL_DIR that outlives the run: the first test that asks for the embedded model converts it there."""
    folder = REPOSITORY / ".cache" / "test-models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
