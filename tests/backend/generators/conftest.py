"""Figures of this process alone, and a generator on a double of OpenAI's API."""

from collections.abc import Iterator
from typing import Any

import pytest

from backend.generators.openai_api import OpenAIGenerator
from tests.conftest import SettingsFactory
from tests.support.openai_double import OpenAIDouble
from tests.support.openai_engine import SECONDS, MakeGenerator


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as server:
        yield server


@pytest.fixture
def make(server: OpenAIDouble, settings_for: SettingsFactory) -> MakeGenerator:
    """Makes a generator on the double; keyword arguments are settings."""

    def make(*, max_retries: int = 3, patience_seconds: float = SECONDS, **changes: Any) -> OpenAIGenerator:
        fields = {"openai_base_url": server.url, "openai_concurrency": 2, "generator_model": "tiny", **changes}
        return OpenAIGenerator(settings_for(**fields), max_retries=max_retries, patience_seconds=patience_seconds)

    return make


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)  # it would have the figures of all processes
