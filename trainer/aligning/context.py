"""What every phase of an alignment works with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from preference.projects.generators import Generators
from preference.settings import Settings
from trainer.aligning.recipe import AlignRecipe
from trainer.rounds.context import RoundContext


@dataclass(frozen=True)
class AlignContext:
    """One project's alignment."""

    round: RoundContext  # what it shares with a round: the project, its judgements, its holdout and its reward models
    recipe: AlignRecipe
    minutes: float  # for the steps
    say: Callable[[str], object]  # takes a line for whoever waits
    clock: Callable[[], float] = time.monotonic

    @property
    def settings(self) -> Settings:
        """The process's."""
        return self.round.settings

    @property
    def generators(self) -> Generators:
        """The project's."""
        return Generators(self.round.folder)
