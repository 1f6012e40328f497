"""A double of the Hugging Face Hub for what is sent there."""

from collections.abc import Iterator

import pytest

from tests.support.hub_double import HubDouble, hub_double


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    with hub_double(monkeypatch) as double:
        yield double
