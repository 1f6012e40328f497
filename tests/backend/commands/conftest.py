"""A Label Studio that can go away during an import, and a file of prompts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SettingsFactory
from tests.support.filling_house import House
from tests.support.importing_house import UnsteadyStudio
from tests.support.studio_double import KEY


@pytest.fixture
def studio() -> Iterator[UnsteadyStudio]:
    with UnsteadyStudio() as double:
        yield double


@pytest.fixture
def house(studio: UnsteadyStudio, settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, generator_engine="echo")
    with House(studio, settings) as house:
        yield house


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """700 prompts, "Prompt 0" and so on."""
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"Prompt {n}\n" for n in range(700)), encoding="utf-8")
    return path
