"""A project whose tasks people judge in the order in which Label Studio serves them, with real heads on simulated features.

An answer has a random vector in place of what a backbone reads, and its worth is one direction of that. People prefer the answer that is
worth more, the more often the more it is. Each task's vote is drawn beforehand, so that it does not depend on when it is cast.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from backend.scoring.champion import ServedVersion
from backend.scoring.predictions import predict_tasks
from preference.labelling.holdout import Holdout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import RewardModel
from preference.reward_model.style_features import NUM_STYLE
from preference.settings import Settings
from tests.support.filling_house import LAYOUT
from trainer.evaluation.judge import LoadedChampion, Verdict, judge
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

_SIZE = 16
_RECIPE = dataclasses.replace(FROZEN, concept_share=0.0, priors=(1.0,))


class SimulatedFeatures(FeatureExtractor):
    """Features that are drawn, by answer; others are drawn when they are asked for."""

    def __init__(self, seed: int) -> None:
        self._chance, self.vectors = np.random.default_rng(seed), dict[str, np.ndarray]()
        self.recipe, self.num_cut = FeatureRecipe("simulated", (1,), 1), 0
        self.tokenizer: Any = None  # nothing is read

    @property
    def size(self) -> int:
        return _SIZE + 1 + NUM_STYLE

    def knows(self, prompt: Prompt, answer: str) -> bool:
        return True

    def vector(self, answer: str) -> np.ndarray:
        if answer not in self.vectors:
            self.vectors[answer] = self._chance.normal(size=_SIZE)
        return self.vectors[answer]

    def features(self, prompts: Sequence[Prompt], answers: Sequence[str], *, is_afresh: bool = False) -> torch.Tensor:
        rows = np.stack([self.vector(answer) for answer in answers])
        return torch.nn.functional.pad(torch.from_numpy(rows).float(), (0, self.size - _SIZE))


class JudgedQueue:
    """Tasks with two answers each, people who judge them, and rounds."""

    def __init__(self, num_tasks: int, *, seed: int, is_by_lot: bool, agreement: float = 0.25) -> None:
        """`is_by_lot`: whether held-out tasks are; `agreement`: by how much people's agreement rises with the difference in worth."""
        chance, self.extractor = np.random.default_rng(seed), SimulatedFeatures(seed)
        self.holdout, self._is_by_lot = Holdout(0.5, salt=str(seed)), is_by_lot
        self.open: dict[int, dict[str, Any]] = {}
        self.votes: dict[int, PreferencePair] = {}
        self.judged: list[int] = []
        self.champion: RewardModel | None = None
        for number in range(1, num_tasks + 1):
            prompt, answers = f"Prompt {number}", (f"left {number}", f"right {number}")
            self.open[number] = {"id": number, "data": {"prompt": prompt, "answer1": answers[0], "answer2": answers[1]}}
            gap = float((self.extractor.vector(answers[0]) - self.extractor.vector(answers[1])).sum())
            is_left = chance.uniform() < 1 / (1 + np.exp(-agreement * gap))
            self.votes[number] = PreferencePair(prompt, *(answers if is_left else answers[::-1]), task_id=number)

    def judge(self, count: int) -> None:
        """People judge so many tasks, those with the lowest score first."""
        holdout = self.holdout if self._is_by_lot else None
        serving = ServedVersion(self.champion, f"v{len(self.judged)}", holdout=holdout) if self.champion else None
        suggesting = Settings.of(control_percent=0).suggesting
        made: list[Any] = predict_tasks(list(self.open.values()), LAYOUT, serving, suggesting=suggesting)
        score = {number: prediction["score"] if prediction else 0.0 for number, prediction in zip(self.open, made, strict=True)}
        for number in sorted(score, key=score.__getitem__)[:count]:
            del self.open[number]
            self.judged.append(number)

    def round(self) -> tuple[Verdict, float]:
        """The verdict on a new challenger, which is served from then on if it is promoted, and its accuracy on all held-out votes."""
        train, held_out = self.holdout.split([self.votes[number] for number in self.judged])
        trained = train_head(train, _RECIPE, self.extractor).model
        champion = None if self.champion is None else LoadedChampion(self.champion, None)
        verdict = judge(trained, champion, held_out, train=train)
        if verdict.promoted:
            self.champion = trained
        _, every = self.holdout.split(list(self.votes.values()))
        return verdict, float(score_pairs(trained, every).right.mean())
