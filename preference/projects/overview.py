"""What the commands show of versions, read from MODEL_DIR alone.

Covered: files that are missing, damaged, of an earlier build, or may not be read. What they do not say is None, or empty.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import Promotion

_T = TypeVar("_T")


@dataclass(frozen=True)
class VersionOverview:
    """One version, as its card tells of it."""

    project: int
    version: str
    is_champion: bool
    made_at: datetime | None
    recipe: str
    num_pairs: int | None
    accuracy: float | None
    interval: tuple[float, float] | None  # of 95 %
    verdict: str  # "promoted", "kept back", or "broken" where the card cannot be read
    reason: str
    promotions: tuple[Promotion, ...]


def read_versions(folder: ProjectFolder) -> Iterator[VersionOverview]:
    """Each version of a project, oldest first.

    Raises:
        OSError: the project's folder may not be read.
    """
    champion = Versions(folder).champion()
    for version in Versions(folder).all():
        is_champion = version == champion
        try:
            card = Versions(folder).card(version)
        except (RegistryError, RecursionError) as error:
            yield VersionOverview(folder.project_id, version, is_champion, None, "", None, None, None, "broken", str(error), ())
            continue
        yield VersionOverview(
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
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    try:
        return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
    except OverflowError:  # a whole number that is larger than any float
        return None


def _count(value: Any, otherwise: _T) -> int | _T:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _moment(value: Any) -> datetime | None:
    """A moment, from seconds since the epoch or from ISO 8601."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return None if _number(value) is None else datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
