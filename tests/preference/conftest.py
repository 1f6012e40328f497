"""A project folder with two versions."""

from pathlib import Path

import pytest

from preference.projects.folder import ProjectFolder
from tests.support.two_versions import with_two_versions


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """Project 3 with the versions v1, which is the champion, and v2."""
    return with_two_versions(tmp_path / "models")
