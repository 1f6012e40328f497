from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trainer.__main__ import main


@pytest.fixture
def invoke(tmp_path: Path) -> Callable[..., Result]:
    """Runs pairloop-trainer with MODEL_DIR in this test's folder; keyword arguments are further variables."""

    def run(*arguments: str, **environ: str) -> Result:
        settings = {"MODEL_DIR": str(tmp_path), "DEVICE": "cpu", "TORCH_THREADS": "1", "LABEL_STUDIO_API_KEY": ""}
        return CliRunner().invoke(main, list(arguments), env={**settings, **environ})

    return run
