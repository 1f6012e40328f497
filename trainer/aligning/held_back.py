"""The reward model that judges a generator: it has never seen what the generator learnt from, nor a vote on the prompt that it judges.

All judgements of prompts that are not held out teach the generator. So its judge is trained on the others, the votes on held-out
prompts, from which no version learns: as several models, each without the votes on a part of the prompts, and each prompt is judged by
the one without it (cross-fitting; Chernozhukov et al. 2018, arXiv 1608.00060). If half of the other judgements trained the judge, the
generator would learn from half as much, and a reward model is hardly better for it: with 20 to 44 votes on held-out prompts it was as
often right about them (.81 on average over six splits of the demo's judgements) as one trained on 34 to 49 votes on others (.82).

Covered: twins of a prompt, which are in one part.
Not covered: what all annotators share. A judge of people's votes likes what these people like.
"""

import hashlib
from collections.abc import Sequence

import torch

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, normalised, opening
from preference.reward_model.feature_extractor import FeatureExtractor
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

_NUM_PARTS = 5


class HeldBackJudge:
    """Gives rewards that compare the answers to one prompt; those of two prompts may be of two models."""

    def __init__(self, votes: Sequence[PreferencePair], extractor: FeatureExtractor) -> None:
        """`votes`: on held-out prompts. The models are `frozen`, which takes seconds, whatever RECIPE is."""
        parts = [_part(pair.question) for pair in votes]
        self._models = [
            train_head([pair for pair, of_pair in zip(votes, parts, strict=True) if of_pair != part], FROZEN, extractor).model
            for part in range(_NUM_PARTS)
        ]

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 on the CPU: a reward for each answer to the prompt at its place."""
        rewards, parts = torch.zeros(len(prompts)), [_part(prompt) for prompt in prompts]
        for part in sorted(set(parts)):
            places = [place for place, of_prompt in enumerate(parts) if of_prompt == part]
            scores = self._models[part].score([prompts[i] for i in places], [answers[i] for i in places])
            rewards[places] = torch.as_tensor(scores, dtype=torch.float32).cpu()
        return rewards


def _part(prompt: Prompt) -> int:
    digest = hashlib.sha256(f"judge: {normalised(opening(prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _NUM_PARTS
