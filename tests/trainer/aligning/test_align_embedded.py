"""The embedded model learns from the demo's annotator, in the demo's setting. At night: each alignment takes minutes of a processor."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.__main__ import DEMO_SETTINGS
from demo.annotator import choose
from demo.stack import REPOSITORY
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, write_all
from preference.labelling.holdout import Holdout
from preference.models.pretrained import locate
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.report_card.generator_card import GeneratorCard
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY
from tests.support.judgement_house import LEFT, RIGHT
from tests.support.nightly import IS_NIGHTLY
from tests.support.studio_double import KEY, StudioDouble
from trainer.aligning import trial
from trainer.aligning.align import align
from trainer.generator_training.recipe import DPO, AlignRecipe

pytestmark = [pytest.mark.skipif(not IS_NIGHTLY, reason="each alignment takes minutes"), pytest.mark.timeout(1800)]
PROMPTS = (REPOSITORY / "demo" / "prompts.txt").read_text(encoding="utf-8").splitlines()[:160]  # as many as are judged first


class JudgedDemo:
    """The demo's prompts, answered by the base and judged by the rule, in a Label Studio of its own.

    Other seeds are other answers, so other comparisons: what is learnt from one set of them says little of another one.
    """

    def __init__(self, studio: StudioDouble, models: Path, *, first_seed: int) -> None:
        environ = {**DEMO_SETTINGS, "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(models)}
        self.settings = Settings.from_environ({**environ, "DEVICE": "cpu"})
        self.project = LabelStudioProject(self.settings.studio, studio.add_project())
        self.folder = ProjectFolder(models, self.project.id)
        self.base = write_all(HuggingFaceGenerator(self.settings), PROMPTS, seeds=range(first_seed, first_seed + len(PROMPTS)))
        for prompt, group in zip(PROMPTS, self.base, strict=True):
            left, right = group.answers
            meta = {META_KEY: {"finish_reasons": dict(zip(("answer1", "answer2"), group.finish_reasons, strict=True))}}
            (task,) = studio.add_tasks(self.project.id, {"prompt": prompt, "answer1": left, "answer2": right}, meta=meta)
            if side := choose(left, right):
                studio.annotate(task, LEFT if side == "left" else RIGHT)

    def align(self, recipe: AlignRecipe) -> GeneratorCard:
        extractors = Extractors(self.settings.model_dir, torch.device("cpu"))
        ended = align(self.project, self.folder, self.settings, recipe, extractors=extractors)
        return Generators(self.folder).card(ended.version)

    def wins_by_the_rule(self, version: str) -> float:
        """Over the base's answers to the same held-out prompts, by other seeds."""
        adapter = Adapter(version, self.folder.path / "generators" / version)
        holdout = Holdout(self.settings.training.holdout_fraction)
        places = [place for place, prompt in enumerate(PROMPTS) if holdout.has(prompt)]
        engine = HuggingFaceGenerator(self.settings)
        written = write_all(engine, [PROMPTS[i] for i in places], seeds=[10_000 + i for i in places], adapter=adapter)
        contests = [
            choose(ours, theirs)
            for place, group in zip(places, written, strict=True)
            for ours in group.answers
            for theirs in self.base[place].answers
        ]
        return float(np.mean([{"left": 1.0, "right": 0.0, None: 0.5}[side] for side in contests]))


@pytest.fixture(scope="module", params=[0, 4000])
def demo(request: pytest.FixtureRequest, embedded_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgedDemo]:
    locate("embedded", embedded_dir)
    models = tmp_path_factory.mktemp("models")
    (models / "embedded").symlink_to(embedded_dir / "embedded")
    with StudioDouble() as studio:
        yield JudgedDemo(studio, models, first_seed=request.param)


def test_it_learns_the_rule_and_is_promoted(demo: JudgedDemo) -> None:
    card = demo.align(DPO)

    assert card.promoted, card.reason
    assert demo.wins_by_the_rule(card.version) > 0.75  # 200 contests tell it to about .03


def test_one_that_loops_is_kept_back_whatever_it_wins(demo: JudgedDemo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate with nothing that holds it to its base: it wins by the rule, and says the same again and again."""
    monkeypatch.setattr(trial, "_MOST_SCALINGS", 0)
    card = demo.align(replace(DPO, learning_rate=1e-3, likelihood=0.0, most_drift=math.inf))

    assert not card.promoted
    assert "repeat themselves" in card.reason or "nats a token away from the base" in card.reason
