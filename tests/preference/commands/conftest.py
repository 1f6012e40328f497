"""A project folder with two versions, and a way to run the commands of both programs on it."""

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.figures import JudgedFigures
from tests.support.cards import EMPTY_CARD
from tests.support.commands import PROGRAMS, Invoke


@pytest.fixture(params=PROGRAMS)
def invoke(request: pytest.FixtureRequest, tmp_path: Path) -> Invoke:
    """Runs a command of either program with MODEL_DIR in this test's folder; keyword arguments are further variables."""

    def run(*arguments: str, **environ: str) -> Result:
        settings = {"MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": ""}
        return CliRunner().invoke(PROGRAMS[request.param], list(arguments), env={**settings, **environ})

    return run


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """Project 3 with two versions: the first is the champion, the second was kept back."""
    made = ProjectFolder(tmp_path, 3)
    (tmp_path / "trained").mkdir()
    first = dataclasses.replace(
        EMPTY_CARD, num_train_pairs=40, promoted=True, reason="accuracy 0.700, and there was no champion",
        metrics=JudgedFigures(accuracy=0.7, interval=(0.5812, 0.7954)),
    )  # fmt: skip
    Versions(made).promote(Versions(made).publish(tmp_path / "trained", first))
    Versions(made).publish(
        tmp_path / "trained", dataclasses.replace(EMPTY_CARD, num_train_pairs=50, reason="accuracy 0.600 is below")
    )
    return made
