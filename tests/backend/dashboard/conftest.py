"""A MODEL_DIR with four rounds in it."""

import shutil
from pathlib import Path

import pytest

from tests.support.dashboard_house import shared_model_dir


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A MODEL_DIR after four rounds of project 7; only to be read."""
    return shared_model_dir(tmp_path_factory.getbasetemp(), tiny_base)


@pytest.fixture
def models(house: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(house, tmp_path / "models"))
