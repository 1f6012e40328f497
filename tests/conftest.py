"""What several test files share: tiny models built from a config, settings, and a folder for the embedded model.

Imports no torch: the process that only hands out the tests to others would take seconds for it, while they wait.
"""

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

from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.memory_disk import write_in_memory
from tests.support.studio_double import KEY, StudioDouble

write_in_memory()
pytest_plugins = ["tests.support.slowest_files"]

REPOSITORY = Path(__file__).parent.parent
SettingsFactory = Callable[..., Settings]


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
def settings(studio: StudioDouble, settings_for: SettingsFactory) -> Settings:
    """Settings that lead to it."""
    return settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)


@pytest.fixture
def project(studio: StudioDouble, settings_for: SettingsFactory) -> LabelStudioProject:
    """A project of it, whose calls are soon given up."""
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
    return LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=5)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 4-layer Llama of random weights and a byte-level BPE tokenizer without a chat template."""
    from tests.support.tiny_bases import save_tiny_base

    return save_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-base")


@pytest.fixture(scope="session")
def tiny_chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights and tokenizer as `tiny_base`, with a chat template."""
    from tests.support.tiny_bases import CHAT_TEMPLATE, save_tiny_base

    return save_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-chat-base", chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def tiny_reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reward model such as the field has: a sequence classifier with one label, with a head and a template of its own."""
    from tests.support.tiny_bases import save_tiny_reward_model

    return save_tiny_reward_model(tmp_path_factory.mktemp("tiny") / "tiny-reward-model")


@pytest.fixture
def settings_for(tmp_path: Path) -> SettingsFactory:
    """Makes settings whose MODEL_DIR is in this test's folder, in float32, without a control group; keyword arguments replace the defaults."""

    def make(**changes: Any) -> Settings:
        return Settings.of(
            **{
                "model_dir": tmp_path / "models",
                "device": "cpu",
                "torch_threads": 1,
                "reward_dtype": "float32",
                "control_percent": 0,
                **changes,
            }
        )

    return make


@pytest.fixture(scope="session")
def embedded_dir() -> Path:
    """A MODEL_DIR that outlives the run: the first test that asks for the embedded model converts it there."""
    folder = REPOSITORY / ".cache" / "test-models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
