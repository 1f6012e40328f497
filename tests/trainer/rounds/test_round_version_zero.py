"""Rounds of a project that begins with a reward model of others: it is judged beside what is trained, and trained on."""

import gc
from pathlib import Path
from typing import Any

import pytest

from preference.commands.version_summary import read_version_summaries
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.shared_base import SharedBase
from tests.conftest import SettingsFactory
from tests.support.lab import CPU, HOLDOUT, Lab, judged_tasks


@pytest.fixture
def lab(settings_for: SettingsFactory, tiny_base: Path, tiny_reward_model: Path) -> Lab:
    return Lab(
        settings_for(
            reward_base=str(tiny_base), reward_model=str(tiny_reward_model), min_pairs=20, holdout_fraction=HOLDOUT, seed=5
        )
    )


def test_the_first_challenger_is_measured_beside_it(lab: Lab) -> None:
    ended = lab.round(judged_tasks(60))

    versions = Versions(lab.folder)
    zero, trained = versions.all()
    assert zero.startswith("v0-") and trained.startswith("v1-") and ended.version == trained
    card = lab.card(ended)
    assert card.compared_with == zero
    assert card.metrics.champion is not None and card.metrics.p_worse is not None
    assert "the champion has" in ended.reason
    assert ended.outcome == "promoted" and versions.champion() == trained
    # Version 0 has read no judgement, so all of them are newer than it.
    (row,) = card.report.versions
    assert row.version == zero and row.prequential is not None and row.prequential.count == 60
    summaries = list(read_version_summaries(lab.folder))
    assert [(summary.recipe, summary.num_pairs, summary.verdict) for summary in summaries] == [
        ("shelf", 0, "promoted"),
        ("frozen", card.num_train_pairs, "promoted"),
    ]
    assert versions.rollback() == zero


class Watching(Extractors):
    """Counts the bases in memory when a training asks for its features."""

    def __init__(self, *of_extractors: Any) -> None:
        super().__init__(*of_extractors)
        self.others, self.num_bases = _bases(), [0]

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        self.num_bases.append(len(_bases() - self.others))
        return super().__call__(recipe)


def _bases() -> set[int]:
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each) is SharedBase}


def test_it_takes_no_memory_from_the_training(lab: Lab) -> None:
    lab.extractors = watching = Watching(lab.settings.model_dir, CPU)

    lab.round(judged_tasks(60))

    assert watching.num_bases[:2] == [0, 0], "what people reward is read later, after the verdict, beside the champion"


def test_one_that_cannot_be_loaded_costs_no_round(
    lab: Lab, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    lab.settings = lab.settings.model_copy(
        update={"training": lab.settings.training.model_copy(update={"reward_model": "/nowhere/judge"})}
    )
    ended = lab.round(judged_tasks(60))
    assert (ended.outcome, lab.card(ended).compared_with) == ("promoted", None)
    assert any("REWARD_MODEL is not there to be judged beside the challenger: " in line for line in caplog.messages)


def test_a_round_without_enough_pairs_loads_nothing(lab: Lab) -> None:
    assert lab.round(judged_tasks(4)).outcome == "skipped"
    assert Versions(lab.folder).all() == []
