"""What a reading of judgements works with. It loads no torch: the trainer's daemon reads, too, before the first round."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from preference.errors import RegistryError
from preference.labelling.control_group import ControlGroup
from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.earlier_project import EarlierProject, read_earlier_project
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.rounds")


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
        earlier = [card.holdout for card in self.cards] + ([self.learns_from.holdout] if self.learns_from else [])
        return Holdout.after(earlier, self.settings.training.holdout_fraction)

    @cached_property
    def learns_from(self) -> EarlierProject | None:
        """The earlier project that it learns from, if there is one. What that trained on is no evidence here."""
        try:
            return read_earlier_project(self.folder)
        except RegistryError as error:
            logger.warning("project %d: nothing is learnt from an earlier project: %s", self.project.id, error)
            return None

    @property
    def control(self) -> ControlGroup:
        """The tasks that show no suggestion."""
        suggesting = self.settings.suggesting
        return ControlGroup(suggesting.control_percent, None if suggesting.suggest_held_out else self.holdout)
