"""A lab for rounds, and one after a promoted round."""

import shutil
from pathlib import Path

import pytest

from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.lab import HOLDOUT, Lab, judged_tasks
from trainer.rounds.outcome import Round


@pytest.fixture(scope="session")
def first_round(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Round]:
    """A lab after one promoted round over 60 tasks; only to be read."""
    environ = {"MODEL_DIR": str(tmp_path_factory.mktemp("lab") / "models"), "REWARD_BASE": str(tiny_base), "SEED": "5"}
    settings = Settings.from_environ({**environ, "MIN_PAIRS": "20", "HOLDOUT_FRACTION": str(HOLDOUT), "DEVICE": "cpu"})
    lab = Lab(settings)
    return lab, lab.round(judged_tasks(60))


@pytest.fixture
def lab(settings_for: SettingsFactory, tiny_base: Path, first_round: tuple[Lab, Round]) -> Lab:
    """A lab without a version. The features that the first round read are there, so that they are computed once."""
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=HOLDOUT, seed=5))
    shutil.copytree(first_round[0].settings.model_dir / "features", lab.settings.model_dir / "features")
    return lab


@pytest.fixture
def lab_with_champion(lab: Lab, first_round: tuple[Lab, Round]) -> Lab:
    """A copy of that lab, to go on from."""
    shutil.copytree(first_round[0].settings.model_dir, lab.settings.model_dir, dirs_exist_ok=True)
    return lab
