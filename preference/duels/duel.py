"""Which tasks are duels, and what the record of one says. Label Studio's pages show no task's meta, so who judges does not see it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

KEY = "duel"  # in the record that a task's meta holds of its answers


def is_drawn(project_id: int, key: object, percent: float) -> bool:
    """Whether a task is to be a duel if so many per cent are; a larger percentage only adds tasks.

    `key` alone decides: its id, or its prompt if it is not in Label Studio yet.
    """
    digest = hashlib.sha256(f"duel|{project_id}|{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 < percent / 100


@dataclass(frozen=True)
class DuelRecord:
    """Who wrote the answers of one task: a generator version, "base", or ENGINE:MODEL."""

    new: str
    other: str
    new_in: str  # the answer field that holds the new one's, or the id of its item in a list

    @classmethod
    def of(cls, value: object) -> Self | None:
        """The record that `to_values` wrote; None if it is none."""
        if not isinstance(value, Mapping):
            return None
        fields = [value.get(name) for name in ("new", "other", "new_in")]
        return cls(*fields) if all(isinstance(field, str) and field for field in fields) else None  # type: ignore[arg-type]

    def to_values(self) -> dict[str, Any]:
        """It as JSON can hold it."""
        return asdict(self)
