"""A project with judged answers, and a tiny generator."""

from pathlib import Path

import pytest

from tests.conftest import SettingsFactory
from tests.support.aligned_house import AlignedHouse
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the judge's base makes of texts, which is the same for all houses."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_chat_base: Path, features: Path) -> AlignedHouse:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, generator_model=str(tiny_chat_base), reward_base=str(tiny_chat_base),
        max_new_tokens=24, temperature=1.0, dtype="float32", holdout_fraction=0.3, seed=1,
    )  # fmt: skip
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    (settings.model_dir / "features").symlink_to(features)
    return AlignedHouse(studio, settings)
