"""One measured figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure and, if there is such, what it is compared with in the same run."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    interval: tuple[float, float] | None = None  # 95 %

    @property
    def ratio(self) -> float | None:
        """value / baseline."""
        return self.value / self.baseline if self.baseline else None
