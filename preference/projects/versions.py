"""The trained versions of one project's reward model, in its folder: versions/<version>, and the pointer `champion`.

published.py says what holds for them. A version holds weights, tokenizer, README.md and card.json.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from preference.projects.promotions import Promotions
from preference.projects.published import Published

if TYPE_CHECKING:  # a card has many parts, which take longer to import than a command such as `connect` has
    from preference.report_card.card import ReportCard

UNTRAINED = "pairloop-untrained"  # what every place shows as the version while there is none
SHELF = "shelf"  # the recipe on the card of a version that is a reward model of others (preference/reward_model/version_zero.py)


class Versions(Published["ReportCard"]):
    """One project's versions, and which of them is the champion. Safe for any number of processes."""

    room, pointer, letter, noun, title = "versions", "champion", "v", "version", "champion"
    taken_up = "backends load it within a second"

    @property
    def has_trained(self) -> bool:
        """Whether there is a version that was trained here: more than a version 0."""
        return any(not version.startswith(f"{self.letter}0-") for version in self.all())

    def _read_card(self, path: Path, *, version: str, promotions: Promotions) -> "ReportCard":
        from preference.report_card.card import ReportCard

        return ReportCard.read(path, project_id=self.folder.project_id, version=version, promotions=promotions)
