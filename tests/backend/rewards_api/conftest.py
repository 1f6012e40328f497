"""A backend that serves a version of project 10, and a client."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from backend.serving.process import Backend
from backend.web.app import create_app
from tests.conftest import SettingsFactory
from tests.support.app_house import promote


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))  # never started: its threads have tests of their own


@pytest.fixture
def version(backend: Backend, tiny_chat_base: Path) -> str:
    """The version that is served."""
    return promote(backend, tiny_chat_base)


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()
