"""A Label Studio with judged answers that a tiny generator can learn from, and an alignment of it in seconds."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.report_card.generator_card import GeneratorCard
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.judgement_house import LEFT, RIGHT
from tests.support.preferred_letters import BAD, GOOD, words
from tests.support.studio_double import StudioDouble
from trainer.aligning.align import Alignment, align
from trainer.aligning.alignment import ALIGNMENT
from trainer.generator_training.recipe import DPO, AlignRecipe
from trainer.rounds.lock import only_one

# No likelihood: that of random letters, by a base of random weights, drowns what tells the answers apart.
QUICK = replace(DPO, learning_rate=2e-2, epochs=4, warm_up_steps=2, likelihood=0.0)
SHORT = replace(QUICK, epochs=0.5)  # for what does not depend on what is learnt


class AlignedHouse:
    """One project; `said` is what the latest alignment told whoever waits."""

    def __init__(self, studio: StudioDouble, settings: Settings) -> None:
        self.studio, self.settings = studio, settings
        self.project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=5)
        self.folder = ProjectFolder(settings.model_dir, self.project.id)
        self.said: list[str] = []
        self.when_said: Callable[[str], object] = lambda line: None

    def judge(self, num_tasks: int, *, answer: Callable[[random.Random, str], str] | None = None) -> list[int]:
        """Tasks with two answers each, of which people chose the one of good letters."""
        chance = random.Random(0)
        write = answer or words
        ids = []
        for number in range(num_tasks):
            good, bad = write(chance, GOOD), write(chance, BAD)
            left, right = (good, bad) if number % 2 else (bad, good)
            data = {"prompt": f"Tell me of thing {number}.", "answer1": left, "answer2": right}
            (task_id,) = self.studio.add_tasks(self.project.id, data)
            self.studio.annotate(task_id, LEFT if number % 2 else RIGHT)
            ids.append(task_id)
        return ids

    def align(self, recipe: AlignRecipe = QUICK, **options: Any) -> Alignment:
        def say(line: str) -> None:
            self.said.append(line)
            self.when_said(line)

        self.said.clear()
        extractors = Extractors(self.settings.model_dir, torch.device("cpu"))
        with only_one(self.folder, ALIGNMENT):
            return align(self.project, self.folder, self.settings, recipe, extractors=extractors, say=say, **options)

    def card(self, ended: Alignment) -> GeneratorCard:
        return Generators(self.folder).card(ended.version)
