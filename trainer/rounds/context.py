"""What every phase of a round works with."""

from dataclasses import dataclass
from functools import cached_property

from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version
from trainer.rounds.reading_context import ReadingContext
from trainer.rounds.unfinished import UnfinishedRound


@dataclass(frozen=True)
class RoundContext(ReadingContext):
    """One project's round. What it reads of earlier versions is from before the round."""

    extractors: Extractors
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most

    @cached_property
    def unfinished(self) -> UnfinishedRound:
        """What this round leaves behind until it ends."""
        return UnfinishedRound(self.folder)

    @cached_property
    def champion(self) -> str | None:
        """The version that is served, as the pointer names it, or None before the first."""
        return Versions(self.folder).champion()

    @property
    def champion_card(self) -> ReportCard | None:
        """Its card; None if there is none, or it is damaged."""
        return self._card(self.champion)

    def load(self, version: str) -> RewardModel:
        """An earlier version.

        Raises:
            PairloopError: it is not there, cannot be loaded, or does not give its probe the reward on its card.
        """
        return load_version(
            self.folder, version, card=self._card(version), extractor=self.extractors, device=self.extractors.device
        )

    def _card(self, version: str | None) -> ReportCard | None:
        return next((card for card in self.cards if card.version == version), None)
