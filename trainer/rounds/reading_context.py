"""What a reading of judgements works with. It loads no torch: the trainer's daemon reads, too, before the first round."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from preference.labelling.control_group import ControlGroup
from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.settings import Settings
from preference.studio.project import LabelStudioProject


@dataclass(frozen=True)
class ReadingContext:
    """One project. The cards of earlier versions are read once."""

    project: LabelStudioProject
    folder: ProjectFolder
    settings: Settings
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # seconds since 1970

    @cached_property
    def cards(self) -> list[ReportCard]:
        """The cards of all earlier versions, latest first, without damaged ones."""
        return list(Versions(self.folder).cards())

    @cached_property
    def holdout(self) -> Holdout:
        """The prompts that are held out by HOLDOUT_FRACTION alone; `Reading.holds_out` may be more."""
        return Holdout.after((card.holdout for card in self.cards), self.settings.training.holdout_fraction)

    @property
    def control(self) -> ControlGroup:
        """The tasks that show no suggestion."""
        suggesting = self.settings.suggesting
        return ControlGroup(suggesting.control_percent, None if suggesting.suggest_held_out else self.holdout)
