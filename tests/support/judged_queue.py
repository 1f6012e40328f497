"""Simulated tasks for a JudgedQueue: answers with random features, and people who vote by one direction among them.

An answer has a random vector in place of what a backbone reads, and its worth is one direction of that. People prefer the answer that is
worth more, the more often the more it is.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.judged_queue import JudgedQueue, Order
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.style_features import NUM_STYLE
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


def simulated_queue(num_tasks: int, *, seed: int, order: Order, agreement: float = 0.25) -> JudgedQueue:
    """Half of the prompts are held out. `agreement`: by how much people's agreement rises with the difference in worth."""
    chance, extractor, votes = np.random.default_rng(seed), SimulatedFeatures(seed), []
    for number in range(num_tasks):
        answers = (f"first {number}", f"second {number}")
        gap = float((extractor.vector(answers[0]) - extractor.vector(answers[1])).sum())
        is_first = chance.uniform() < 1 / (1 + np.exp(-agreement * gap))
        votes.append(PreferencePair(f"Prompt {number}", *(answers if is_first else answers[::-1]), task_id=number))
    return JudgedQueue(votes, extractor, _RECIPE, seed=seed, order=order, fraction=0.5, control_percent=0)
