"""Rounds of a project that learns from an earlier one."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from preference.labelling.holdout import Holdout
from preference.labelling.prompts import transcript
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.earlier_project import learn_from
from preference.reward_model.model import load_saved
from tests.conftest import SettingsFactory
from tests.support.lab import CPU, HOLDOUT, JudgedProject, Lab, judged_tasks
from trainer.rounds.context import RoundContext
from trainer.rounds.outcome import Round


@pytest.fixture
def learning(lab: Lab, first_round: tuple[Lab, Round]) -> Lab:
    """A lab of project 7 that learns from the champion of project 3, a copy of a lab after a round."""
    earlier, models = ProjectFolder(lab.settings.model_dir, 3), first_round[0].folder.path
    shutil.copytree(models, earlier.path)
    learn_from(lab.folder, earlier, base=lab.settings.training.reward_base)
    return lab


def test_its_first_version_names_the_earlier_one_and_needs_it_no_more(learning: Lab, first_round: tuple[Lab, Round]) -> None:
    earlier = first_round[1].version
    ended = learning.round(judged_tasks(60))

    assert ended.version is not None
    assert learning.card(ended).learnt_from == f"{earlier} of project 7"  # as its own card says
    shutil.rmtree(ProjectFolder(learning.settings.model_dir, 3).path)
    shutil.rmtree(learning.folder.path / "learnt_from")
    model = load_saved(Versions(learning.folder).path(ended.version), extractor=learning.extractors, device=CPU)
    assert model.score(["Why?"], ["The cat is kind."]).isfinite().all()


def test_what_the_earlier_one_trained_on_is_no_evidence(learning: Lab) -> None:
    path = learning.folder.path / "learnt_from" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "holdout_fraction": HOLDOUT / 2}))

    context = RoundContext(JudgedProject([]), learning.folder, learning.settings, learning.extractors)

    prompts = [transcript(task["data"]["prompt"]) for task in judged_tasks(200)]
    judged_by = {prompt for prompt in prompts if context.holdout.judges_by(prompt)}
    assert judged_by == {prompt for prompt in prompts if Holdout(HOLDOUT / 2).has(prompt)} != set()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"base": "/elsewhere"}, "it reads with /elsewhere, and REWARD_BASE is "), ({"kind": 7}, "is missing or damaged")],
)
def test_a_head_that_cannot_be_used_is_said_and_stops_no_round(
    learning: Lab, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], said: str
) -> None:
    path = learning.folder.path / "learnt_from" / "reward_model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    with caplog.at_level(logging.WARNING):
        ended = learning.round(judged_tasks(60))

    assert ended.version is not None and learning.card(ended).learnt_from == ""
    assert any("nothing is learnt from" in line and said in line for line in caplog.messages)


def test_a_project_that_begins_to_learn_from_another_has_something_new(
    lab: Lab, first_round: tuple[Lab, Round], settings_for: SettingsFactory, tiny_base: Path
) -> None:
    tasks = judged_tasks(60)
    first = lab.round(tasks)
    assert lab.round(tasks).reason.startswith(f"nothing is new since {first.version}")
    earlier = ProjectFolder(lab.settings.model_dir, 3)
    shutil.copytree(first_round[0].folder.path, earlier.path)
    learn_from(lab.folder, earlier, base=lab.settings.training.reward_base)

    assert lab.round(tasks).version is not None
