"""What one comparison pulls a generator to: the losses of DPO, of KTO, and of supervised fine-tuning: on the better answer, or in hindsight.

Direct Preference Optimisation: arXiv 2305.18290, equation 7; with the likelihood of the preferred answer: arXiv 2404.19733, equation 2;
with an offset if people said by how much it is better: arXiv 2402.10571, in the unit in which the reward models have their
margins (arXiv 2307.09288, equation 2).
Kahneman-Tversky Optimisation: arXiv 2402.01306, equation 8, with both answers of a comparison at equal weights. A text's log-probability
is over all tokens of its answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.top_layers import ReadText, TopLayers


@dataclass(frozen=True, eq=False)
class ReadPair:
    """Two answers to one prompt, of which people preferred the first."""

    chosen: ReadText
    rejected: ReadText | None  # None if the method reads the chosen one alone
    mismatched: ReadText | None = None  # the answer to another prompt, for a method that measures how far the generator has come
    offset: float = 0.0  # the reward by which the chosen one is to be ahead, at least: by how much better people said it is, 0..1

    @property
    def texts(self) -> list[ReadText]:
        """Those that there are."""
        return [text for text in (self.chosen, self.rejected, self.mismatched) if text is not None]

    @property
    def num_tokens(self) -> int:
        """Of all its texts."""
        return sum(len(text.tokens.ids) for text in self.texts)


@dataclass(frozen=True, eq=False)
class Pull:
    """What a comparison does in a step."""

    loss: torch.Tensor  # ()
    # Nats a token by which its two answers became unlikelier. The base wrote such answers, so on average it is the divergence of the base
    # from what learns; 0 for a method that reads what people wrote.
    drift: float = 0.0


Loss = Callable[[TopLayers, ReadPair, AlignRecipe, float], Pull]


def gained(layers: TopLayers, text: ReadText) -> torch.Tensor:
    """() by how much likelier the answer became, as a log-probability; 0 before the first step."""
    return layers.log_prob(text) - text.reference


def margin(layers: TopLayers, pair: ReadPair) -> torch.Tensor:
    """() by how much more the chosen answer gained than the rejected one.

    Raises:
        ValueError: the pair has no rejected answer.
    """
    better, worse = _both_gained(layers, pair)
    return better - worse


@torch.no_grad()
def reference_point(layers: TopLayers, batch: Sequence[ReadPair]) -> float:
    """How far the generator is from its base, by answers to other prompts; 0 without those (KTO's z0)."""
    drifts = [float(gained(layers, pair.mismatched)) for pair in batch if pair.mismatched is not None]
    return max(0.0, sum(drifts) / max(1, len(drifts)))


def _dpo(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> Pull:
    better, worse = _both_gained(layers, pair)
    likely = (better + pair.chosen.reference) / max(1, pair.chosen.tokens.num_learnt)
    loss = -torch.nn.functional.logsigmoid(recipe.beta * (better - worse) - pair.offset) - recipe.likelihood * likely
    return Pull(loss, _drift(pair, better, worse))


def _kto(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> Pull:
    better, worse = _both_gained(layers, pair)
    loss = 1 - (torch.sigmoid(recipe.beta * (better - point)) + torch.sigmoid(recipe.beta * (point - worse))) / 2
    return Pull(loss, _drift(pair, better, worse))


def _sft(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> Pull:
    return Pull(-layers.log_prob(pair.chosen) / max(1, pair.chosen.tokens.num_learnt))


def _both_gained(layers: TopLayers, pair: ReadPair) -> tuple[torch.Tensor, torch.Tensor]:
    """() and () by how much likelier either answer became, as log-probabilities."""
    if pair.rejected is None:
        raise ValueError("the chosen answer stands alone")
    chosen, rejected = layers.log_probs(pair.chosen, pair.rejected)
    return chosen - pair.chosen.reference, rejected - pair.rejected.reference


def _drift(pair: ReadPair, better: torch.Tensor, worse: torch.Tensor) -> float:
    num_tokens = sum(text.tokens.num_learnt for text in (pair.chosen, pair.rejected) if text is not None)
    return -float((better + worse).detach()) / max(1, num_tokens)


LOSSES: dict[str, Loss] = {"dpo": _dpo, "kto": _kto, "sft": _sft, "hindsight": _sft}
