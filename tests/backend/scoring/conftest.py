from pathlib import Path

import pytest
import torch

from backend.scoring.champion import Champions
from preference.projects.folder import ProjectFolder


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    folder = ProjectFolder(tmp_path, 1)
    folder.create()
    return folder


@pytest.fixture
def champions(tmp_path: Path) -> Champions:
    return Champions(tmp_path, device=torch.device("cpu"))
