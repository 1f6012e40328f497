"""One measured figure."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """What a figure is to reach."""

    limit: float
    of: Literal["ratio", "value"] = "ratio"
    is_most: bool = True  # whether less is better

    def __str__(self) -> str:
        return f"{self.of} at {'most' if self.is_most else 'least'} {self.limit:.3g}"


@dataclass(frozen=True)
class Row:
    """A figure and, if there is such, what it is compared with in the same run."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    interval: tuple[float, float] | None = None  # 95 %
    bar: Bar | None = None

    @property
    def ratio(self) -> float | None:
        """value / baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def is_met(self) -> bool | None:
        """Whether the figure reaches its bar; None if it has none, or lacks what it is compared with."""
        if self.bar is None or (measured := self.ratio if self.bar.of == "ratio" else self.value) is None:
            return None
        return measured <= self.bar.limit if self.bar.is_most else measured >= self.bar.limit
