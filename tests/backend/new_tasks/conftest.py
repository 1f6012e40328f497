"""A filler on a double of Label Studio."""

from collections.abc import Iterator

import pytest

from tests.conftest import SettingsFactory
from tests.support.filling_house import House
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house
