"""A reward model whose rewards a test writes down, and held-out pairs for it."""

from collections.abc import Sequence

import torch

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.reward_model.model import Description, RewardModel


class KnowsRewards(RewardModel):
    """A reward model whose rewards are written down, by answer."""

    def __init__(self, rewards: dict[str, float]) -> None:
        self.rewards, self.num_scored = rewards, 0  # no weights and no tokenizer: only scores are asked for
        self.description = Description("frozen", "none", 1)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        self.num_scored += len(answers)
        return torch.tensor([self.rewards[answer] for answer in answers])

    def _save_weights(self, folder: object) -> None:
        raise NotImplementedError


def holdout(num_pairs: int, *, num_longer: int, num_equal: int = 0) -> list[PreferencePair]:
    """Pairs whose chosen answer is the longer one in the first `num_longer`, as long in the next `num_equal`."""
    pairs = []
    for i in range(num_pairs):
        length = 9 if i < num_longer else 5 if i < num_longer + num_equal else 2
        pairs.append(PreferencePair(f"prompt {i}", f"c{i:02}".ljust(length + 3, "."), f"r{i:02}".ljust(8, ".")))
    return pairs


def model(pairs: Sequence[PreferencePair], *, right: Sequence[int]) -> KnowsRewards:
    """A model that is right on the pairs of these numbers, and wrong on the others."""
    rewards = {pair.rejected: 0.0 for pair in pairs}
    rewards.update({pair.chosen: 1.0 if i in right else -1.0 for i, pair in enumerate(pairs)})
    return KnowsRewards(rewards)
