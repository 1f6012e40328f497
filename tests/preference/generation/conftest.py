"""A generator of words, which ends by itself now and then."""

from pathlib import Path

import pytest
from transformers import LlamaConfig

from tests.conftest import SettingsFactory
from tests.support.word_models import NUM_WORDS, SIZES, MakeGenerator, maker, save_words


@pytest.fixture
def make(settings_for: SettingsFactory) -> MakeGenerator:
    return maker(settings_for)


@pytest.fixture(scope="module")
def words_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_words(tmp_path_factory.mktemp("words") / "words", LlamaConfig(**SIZES), ends=range(8, NUM_WORDS, 12))
