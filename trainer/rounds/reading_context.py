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
        """The prompts that are held out by HOLDOUT_FRACTION alone, from which a round begins; `Reading.holds_out` may be more."""
        earlier = [card.holdout for card in self.cards] + ([self.learns_from.holdout] if self.learns_from else [])
        return Holdout.after(earlier, self.settings.training.holdout_fraction)

    @property
    def served_holdout(self) -> Holdout:
        """The same, and those by which the served version was judged: they are shown, and exported, as held out until another is."""
        return self.holdout if self.champion_card is None else self.holdout.with_served(self.champion_card.holdout)

    @cached_property
    def champion(self) -> str | None:
        """The version that is served, as the pointer names it, or None before the first."""
        return Versions(self.folder).champion()

    @property
    def champion_card(self) -> ReportCard | None:
        """Its card; None if there is none, or it is damaged."""
        return self.card(self.champion)

    def card(self, version: str | None) -> ReportCard | None:
        """The card of a version; None if there is none, or it is damaged."""
        return next((card for card in self.cards if card.version == version), None)

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
        return ControlGroup(suggesting.control_percent, None if suggesting.suggest_held_out else self.served_holdout)
