"""What every phase of an alignment works with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preference.projects.generators import Generators
from preference.settings import Settings
from trainer.aligning.alignment import UnfinishedAlignment
from trainer.generator_training.checkpoints import Checkpoints
from trainer.generator_training.recipe import AlignRecipe
from trainer.rounds.context import RoundContext


@dataclass(frozen=True)
class AlignContext:
    """One project's alignment."""

    round: RoundContext  # what it shares with a round: the project, its judgements, its holdout and its reward models
    recipe: AlignRecipe
    minutes: float  # for the steps
    say: Callable[[str], object]  # takes a line for whoever waits
    clock: Callable[[], float] = time.monotonic
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most

    @property
    def settings(self) -> Settings:
        """The process's."""
        return self.round.settings

    @property
    def unfinished(self) -> UnfinishedAlignment:
        """What this alignment leaves behind until it ends."""
        return UnfinishedAlignment(self.round.folder)

    @property
    def checkpoints(self) -> Checkpoints:
        """What its training goes on from after a kill."""
        path = self.unfinished.folder / "checkpoint.safetensors"
        return Checkpoints(path, every_seconds=self.checkpoint_seconds, clock=self.clock)

    @property
    def curves(self) -> Path:
        """The folder for the files of REPORT_TO=tensorboard; its name is the run's."""
        return self.round.folder.path / "curves" / f"{self.unfinished.began_at:%Y%m%d-%H%M%S}-align"

    @property
    def generators(self) -> Generators:
        """The project's."""
        return Generators(self.round.folder)
