"""How long a project whose rounds fail waits for the next one."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from preference.formatting import duration
from preference.projects.status_files import LastRound
from trainer.rounds.outcome import Round

_FIRST_WAIT_SECONDS = 600
_LONGEST_WAIT_SECONDS = 6 * 3600  # a schedule of four rounds a day leaves none out


@dataclass(frozen=True)
class Failures:
    """The rounds of a project that failed, one after another until now."""

    num: int = 0
    at: float = 0.0  # when the last one did, in seconds since the epoch

    @classmethod
    def of_earlier_trainer(cls, folder: Path) -> Self:
        """What the project's folder says of the last round. How many failed before it is not known."""
        with suppress(OSError):
            last = LastRound.read(folder)
            if last.outcome == "failed" and last.at is not None:
                return cls(1, last.at)
        return cls()

    def unless_well(self, folder: Path) -> Self:
        """Without those before a round that ended well since, as one does that somebody runs by hand."""
        with suppress(OSError):
            last = LastRound.read(folder) if self.num else None
            if last is not None and last.outcome in ("promoted", "rejected", "skipped") and (last.at or 0) > self.at:
                return type(self)()
        return self

    def then(self, ended: Round, *, now: float) -> Self:
        """With a round that ended now."""
        return type(self)(self.num + 1, now) if ended.outcome == "failed" else type(self)()

    def waits_until(self, now: float) -> float | None:
        """When the next round may begin; None if that may be now."""
        is_waiting = 0 <= now - self.at < self._wait_seconds  # a clock that was set back must not make that longer
        return self.at + self._wait_seconds if is_waiting else None

    @property
    def _wait_seconds(self) -> float:
        return min(_FIRST_WAIT_SECONDS * 2.0 ** min(self.num - 1, 99), _LONGEST_WAIT_SECONDS) if self.num else 0

    def __str__(self) -> str:
        which = "the last round" if self.num == 1 else f"the last {self.num} rounds"
        return f"{which} failed; the next one waits for {duration(self._wait_seconds)}, unless somebody asks for it"
