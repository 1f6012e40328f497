"""A project whose champion people can certify."""

from pathlib import Path

import pytest

from tests.conftest import SettingsFactory
from tests.support.certified_house import CertifiedHouse
from tests.support.studio_double import StudioDouble


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path) -> CertifiedHouse:
    return CertifiedHouse(studio, settings_for, tiny_base)
