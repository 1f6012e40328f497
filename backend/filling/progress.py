"""How far the filler is with one project, told to whoever asks: every worker's /health, and `pairloop-backend fill`."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from backend.monitoring.metrics import Metrics
from preference.errors import RegistryError
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder

logger = logging.getLogger("pairloop.filling")
_EVERY_SECONDS = 1.0


class Progress:
    """One visit's progress. `num_unread`: unanswered tasks that it has not read yet; `is_all_read`: it has seen the last page."""

    def __init__(self, folder: ProjectFolder, metrics: Metrics, *, clock: Callable[[], float] = time.time) -> None:
        self.num_unread, self.is_all_read = 0, False
        self._folder, self._metrics, self._clock = folder, metrics, clock
        self._started, self._told = clock(), 0.0
        self._log_once = LogOnce()
        found = folder.read_progress()
        self._number = _number(found) + 1
        self._has_begun = bool(found.get("is_filling") or found.get("tasks_left"))  # a visit that was cut short left them so
        self._is_right_for_none = "tasks_left" in found and not found.get("tasks_failed")

    def tell(
        self, *, num_answered: int, num_under_way: int, dropped: Mapping[str, int], tokens_per_second: float, is_last: bool
    ) -> None:
        """Remembers the numbers, about once a second, and at last.

        A visit that found nothing to answer leaves no trace, unless that is news: to what one that was cut short left, to tasks
        that failed and are gone, or because none has told before.
        """
        now = self._clock()
        self._has_begun = self._has_begun or bool(num_answered or num_under_way or dropped)
        self._has_begun = self._has_begun or (self.is_all_read and is_last and not self._is_right_for_none)
        if not self._has_begun or (now < self._told + _EVERY_SECONDS and not is_last):
            return
        self._told = now
        num_left = self.num_unread + num_under_way
        rate = num_answered / max(now - self._started, 1e-3)
        self._metrics.tasks_unanswered.labels(str(self._folder.project_id)).set(num_left)
        self._remember(
            {
                "tasks_left": num_left,
                "tasks_answered": num_answered,
                "tasks_failed": dict(dropped),
                "answers_per_second": round(2 * rate, 3),
                "tokens_per_second": round(tokens_per_second, 1),
                "seconds_left": round(num_left / rate) if rate else None,
                "is_filling": not is_last,
                "at": round(now, 1),
                "pass": self._number,
            }
        )

    def _remember(self, progress: Mapping[str, Any]) -> None:
        try:
            self._folder.write_progress(progress)
        except RegistryError as error:  # a full disk must not keep tasks from their answers
            if self._log_once.is_news(self._folder.project_id):
                logger.warning("project %d: how far the filling is cannot be told: %s", self._folder.project_id, error)


def ended_pass(progress: Mapping[str, Any]) -> int | None:
    """The number of the pass that wrote this at its end; None if that is under way, or if there was none.

    Passes over a project are counted, so that whoever waits for the next one need not compare clocks.
    """
    return None if not progress or progress.get("is_filling") else _number(progress)


def _number(progress: Mapping[str, Any]) -> int:
    number = progress.get("pass")
    return number if isinstance(number, int) else 0
