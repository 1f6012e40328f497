"""How far the filler is with one project: written for every worker's /health, the dashboard and `pairloop-backend fill`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.monitoring.metrics import Metrics
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import Filling, write_filling

_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class PassResult:
    """What a pass did."""

    is_done: bool  # whether it finished; if not, it was stopped, or the version or the label config changed meanwhile
    dropped: Mapping[str, int]  # tasks that stay as they are, by reason


class Progress:
    """The progress of one pass over a project."""

    def __init__(self, folder: ProjectFolder, metrics: Metrics, *, clock: Callable[[], float] = time.time) -> None:
        self.num_unread: int | None = None  # unanswered tasks that the pass has not read yet; None before its first page
        self.problem: str | None = None  # why it could not be written last; None before it was tried
        self._folder, self._metrics, self._clock = folder, metrics, clock
        self._started, self._written = clock(), 0.0
        last = _read(folder)  # of the pass before this one
        self._number = (last.pass_number or 0) + 1
        self._num_remaining_before = last.tasks_left or 0
        # After an interrupted pass there are tasks to do, and a killed one says that it still fills: the next pass corrects that.
        self._is_worth_writing = bool(last.is_filling or last.tasks_left)
        self._was_all_answered = last.tasks_left is not None and not last.tasks_failed

    @property
    def is_all_read(self) -> bool:
        """Whether the pass has read the last unanswered task."""
        return self.num_unread == 0

    def write(
        self, *, num_answered: int, num_under_way: int, dropped: Mapping[str, int], tokens_per_second: float, is_last: bool,
        num_answers_cut: int = 0,
    ) -> None:  # fmt: skip
        """Writes filling.json and the figure of unanswered tasks, at most once a second; always at the end, with `is_last`.

        A pass that has nothing to answer keeps the numbers of the pass before it, which people still want to read. It writes
        its own numbers in three cases: those before are wrong, tasks that failed before no longer do, or there are none yet.
        """
        now = self._clock()
        self._is_worth_writing |= bool(num_answered or num_under_way or dropped)
        self._is_worth_writing |= is_last and self.is_all_read and not self._was_all_answered
        if not self._is_worth_writing or (now < self._written + _EVERY_SECONDS and not is_last):
            return
        self._written = now
        num_remaining = num_under_way + (self._num_remaining_before if self.num_unread is None else self.num_unread)
        rate = num_answered / max(now - self._started, 1e-3)
        self._metrics.tasks_unanswered.labels(str(self._folder.project_id)).set(num_remaining)
        self._write(
            Filling(
                tasks_left=num_remaining,
                tasks_answered=num_answered,
                answers_cut=num_answers_cut,
                tasks_failed=dict(dropped),
                answers_per_second=round(2 * rate, 3),
                tokens_per_second=round(tokens_per_second, 1),
                seconds_left=round(num_remaining / rate) if rate else None,
                is_filling=not is_last,
                at=round(now, 1),
                pass_number=self._number,
            )
        )

    def _write(self, filling: Filling) -> None:
        try:
            write_filling(self._folder, filling)
            self.problem = ""
        except RegistryError as error:  # a full disk must not keep tasks from their answers
            self.problem = f"how far the filling is cannot be written: {error}"


def ended_pass(filling: Filling) -> int | None:
    """The number of the pass that wrote this at its end; None if that pass is under way, or if there was none.

    Passes over a project are counted, so that whoever waits for the next one need not compare clocks.
    """
    return None if filling.at is None or filling.is_filling else filling.pass_number or 0


def _read(folder: ProjectFolder) -> Filling:
    try:
        return Filling.read(folder.path)
    except OSError:  # whoever shows it says so
        return Filling()
