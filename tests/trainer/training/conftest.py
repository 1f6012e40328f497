"""Trainings on the tiny base that share one backbone and its features."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from preference.labelling.pairs import PreferencePair
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from tests.support.trainings import CPU, Train, train_version
from trainer.training.recipes import Recipe


@pytest.fixture(scope="session")
def extractors(tmp_path_factory: pytest.TempPathFactory) -> Extractors:
    """Keeps the features that a `frozen` training reads: most are of the concepts, and the same in each."""
    return Extractors(tmp_path_factory.mktemp("extractors") / "models", CPU)


@pytest.fixture
def train(tiny_base: Path, extractors: Extractors, tmp_path: Path) -> Train:
    """Trains on the tiny base with seed 0 into a folder of this test's."""

    def run(
        pairs: Sequence[PreferencePair], recipe: Recipe, name: str, *,
        base: Path = tiny_base, seed: int = 0,
    ) -> RewardModel:  # fmt: skip
        return train_version(pairs, recipe, tmp_path / name, base=base, extractors=extractors, seed=seed)

    return run
