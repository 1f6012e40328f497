"""A backend to be connected, and the Label Studio that it is connected to."""

import pytest

from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.connecting_house import ADDRESS, House
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def settings(studio: StudioDouble, settings_for: SettingsFactory) -> Settings:
    return settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, backend_url=ADDRESS)


@pytest.fixture
def house(studio: StudioDouble, settings: Settings) -> House:
    return House(studio, settings)
