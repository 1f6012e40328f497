"""What every phase of a round works with."""

import logging
from dataclasses import dataclass
from functools import cached_property

from preference.errors import ModelError
from preference.models.hardware import reward_dtype
from preference.models.number_formats import NumberFormat
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel, read_description
from preference.reward_model.probe import load_version
from preference.reward_model.reward_head import RewardHead
from trainer.rounds.reading_context import ReadingContext
from trainer.rounds.unfinished import UnfinishedRound
from trainer.training.recipes import RECIPES
from trainer.training.trained import EarlierHead

logger = logging.getLogger("pairloop.rounds")


@dataclass(frozen=True)
class RoundContext(ReadingContext):
    """One project's round. What it reads of earlier versions is from before the round."""

    extractors: Extractors
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most

    @cached_property
    def unfinished(self) -> UnfinishedRound:
        """What this round leaves behind until it ends."""
        return UnfinishedRound(self.folder)

    @property
    def dtype(self) -> NumberFormat:
        """The number format in which a challenger trains. That of `frozen` is float32: it only reads features."""
        training = self.settings.training
        is_sequence = RECIPES[training.recipe].kind == "sequence"
        return reward_dtype(training.reward_dtype, self.extractors.device) if is_sequence else "float32"

    @cached_property
    def earlier(self) -> EarlierHead | None:
        """What a `frozen` challenger learns from an earlier project; None without one, and if its head cannot be used."""
        known, training = self.learns_from, self.settings.training
        if known is None or RECIPES[training.recipe].kind != "frozen":
            return None
        try:
            head, features = RewardHead.load(known.path), read_description(known.path).feature_recipe
        except ModelError as error:
            logger.warning("project %d: nothing is learnt from %s: %s", self.project.id, known.name, error)
            return None
        if features.base != training.reward_base:
            logger.warning(
                "project %d: nothing is learnt from %s: it reads with %s, and REWARD_BASE is %s", self.project.id, known.name,
                features.base, training.reward_base,
            )  # fmt: skip
            return None
        return EarlierHead(known.name, head.weight, features)

    def load(self, version: str) -> RewardModel:
        """An earlier version.

        Raises:
            PairloopError: it is not there, cannot be loaded, or does not give its probe the reward on its card.
        """
        return load_version(
            self.folder, version, card=self.card(version), extractor=self.extractors, device=self.extractors.device
        )
