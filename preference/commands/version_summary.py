"""What `versions` shows of each version: a row of its table, or an object of its JSON, whatever its card holds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions

if TYPE_CHECKING:
    from preference.report_card.card import Promotion


@dataclass(frozen=True)
class VersionSummary:
    """One version by its card. What that does not hold is None, or empty."""

    project: int
    version: str
    is_champion: bool
    made_at: datetime | None
    recipe: str
    num_pairs: int | None
    accuracy: float | None
    interval: tuple[float, float] | None  # of 95 %
    verdict: str  # "promoted", "kept back", or "broken" if the card cannot be read
    reason: str
    promotions: tuple["Promotion", ...]
    has_weights: bool  # False if KEEP_VERSIONS kept its card alone


def read_version_summaries(folder: ProjectFolder) -> Iterator[VersionSummary]:
    """Each version of a project, oldest first.

    Raises:
        OSError: the project's folder may not be read.
    """
    champion, promotable = Versions(folder).champion(), set(Versions(folder).promotable())
    for version in Versions(folder).all():
        is_champion, has_weights = version == champion, version in promotable
        try:
            card = Versions(folder).card(version)
        except RegistryError as error:
            yield VersionSummary(
                folder.project_id, version, is_champion, None, "", None, None, None, "broken", str(error), (), has_weights
            )
            continue
        yield VersionSummary(
            folder.project_id,
            version,
            is_champion,
            _moment(card.created_at),
            card.recipe,
            card.num_train_pairs,
            card.metrics.accuracy,
            card.metrics.interval,
            "promoted" if card.promoted else "kept back",
            card.reason,
            tuple(replace(promotion, reason=promotion.reason or None) for promotion in card.promotions),
            has_weights,
        )


def _moment(text: str) -> datetime | None:
    """A moment from ISO 8601, in UTC; None if the text is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
