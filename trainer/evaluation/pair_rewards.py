"""What a reward model says of pairs, computed once and passed on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt, normalised
from trainer.evaluation.intervals import Array


class Scores(Protocol):
    """A reward model, or several of which each scores some prompts."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) rewards, in order; those of the answers to one prompt can be compared."""
        ...


@dataclass(frozen=True, eq=False)
class Rewards:
    """The rewards of the chosen and of the rejected answers of some pairs, in their order."""

    chosen: Array  # (num_pairs,)
    rejected: Array  # (num_pairs,)

    @property
    def gaps(self) -> Array:
        """(num_pairs,) chosen - rejected; not a number if either is not."""
        return self.chosen - self.rejected

    @property
    def right(self) -> Array:
        """(num_pairs,) 1.0 if the chosen answer has the higher reward, else 0.0: a tie is not right, nor is a NaN."""
        return (self.chosen > self.rejected).astype(float)


def once_each(values: Array, pairs: Sequence[PreferencePair]) -> Array:
    """The values of pairs, with one value for each prompt that was ranked: the mean of its pairs.

    The pairs of a ranking say the same things several times, so they are no independent comparisons. Order: each one's first pair.
    """
    groups: dict[object, list[float]] = {}
    for i, (value, pair) in enumerate(zip(values, pairs, strict=True)):
        groups.setdefault(normalised(pair.question) if pair.kind == "ranking" else i, []).append(float(value))
    return np.array([sum(group) / len(group) for group in groups.values()])


def score_pairs(model: Scores, pairs: Sequence[PreferencePair]) -> Rewards:
    """The model's rewards of these pairs; a text that stands in several of them is scored once."""
    texts = dict.fromkeys((pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected))
    if not texts:
        return Rewards(np.zeros(0), np.zeros(0))
    scored = model.score([prompt for prompt, _ in texts], [answer for _, answer in texts])
    reward = dict(zip(texts, scored.tolist(), strict=True))
    return Rewards(
        np.array([reward[pair.prompt, pair.chosen] for pair in pairs]),
        np.array([reward[pair.prompt, pair.rejected] for pair in pairs]),
    )
