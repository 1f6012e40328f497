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


Loss = Callable[[TopLayers, ReadPair, AlignRecipe, float], torch.Tensor]


def gained(layers: TopLayers, text: ReadText) -> torch.Tensor:
    """() by how much likelier the answer became, as a log-probability; 0 before the first step."""
    return layers.log_prob(text) - text.reference


def margin(layers: TopLayers, pair: ReadPair) -> torch.Tensor:
    """() by how much more the chosen answer gained than the rejected one.

    Raises:
        ValueError: the pair has no rejected answer.
    """
    if pair.rejected is None:
        raise ValueError("the chosen answer stands alone")
    chosen, rejected = layers.log_probs(pair.chosen, pair.rejected)
    return chosen - pair.chosen.reference - (rejected - pair.rejected.reference)


@torch.no_grad()
def reference_point(layers: TopLayers, batch: Sequence[ReadPair]) -> float:
    """How far the generator is from its base, by answers to other prompts; 0 without those (KTO's z0)."""
    drifts = [float(gained(layers, pair.mismatched)) for pair in batch if pair.mismatched is not None]
    return max(0.0, sum(drifts) / max(1, len(drifts)))


def _dpo(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> torch.Tensor:
    assert pair.rejected is not None, "DPO reads both answers"
    chosen, rejected = layers.log_probs(pair.chosen, pair.rejected)
    ahead = chosen - pair.chosen.reference - (rejected - pair.rejected.reference)
    likely = chosen / max(1, pair.chosen.tokens.num_learnt)
    return -torch.nn.functional.logsigmoid(recipe.beta * ahead - pair.offset) - recipe.likelihood * likely


def _kto(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> torch.Tensor:
    assert pair.rejected is not None, "KTO reads both answers"
    chosen, rejected = layers.log_probs(pair.chosen, pair.rejected)
    better, worse = chosen - pair.chosen.reference - point, rejected - pair.rejected.reference - point
    return 1 - (torch.sigmoid(recipe.beta * better) + torch.sigmoid(-recipe.beta * worse)) / 2


def _sft(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe, point: float) -> torch.Tensor:
    return -layers.log_prob(pair.chosen) / max(1, pair.chosen.tokens.num_learnt)


LOSSES: dict[str, Loss] = {"dpo": _dpo, "kto": _kto, "sft": _sft, "hindsight": _sft}
