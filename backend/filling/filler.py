"""The filler: makes a pass over each project when there is something to do for it.

A task's own data says whether it is answered, and its predictions say whether it is scored. So nothing is remembered here:
a crash loses at most the batch in flight, and the next pass lists those tasks again.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from filelock import FileLock, Timeout

from backend.filling.outdated_predictions import remove_outdated
from backend.filling.project_pass import open_pass
from backend.filling.shown_version import ShownVersion
from backend.filling.workbench import Workbench
from preference.errors import PairloopError, RegistryError, StudioError
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import Versions
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.filling")
_REST_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0  # from one removal of outdated predictions to the next
_PASS_SECONDS = 60.0  # then the other projects have their turn
_PATIENCE_SECONDS = 120.0  # with one call, for a Label Studio that restarts
_AWAITED_SECONDS = 10.0  # the same while other projects wait: Label Studio may fail at this one alone


@dataclass
class _Turns:
    """What the filler knows of a project between passes; times are on its clock."""

    next_pass: float = -math.inf
    last_pass: float = -math.inf
    end: float = math.inf  # of the turn that is under way, if others wait for theirs
    project: LabelStudioProject | None = None  # from the first pass on
    last_version: str | None = None  # the champion that the last pass worked with
    shown: ShownVersion = field(default_factory=ShownVersion)
    swept_to: int = 0  # the task after which the removal of outdated predictions goes on; 0 is the first
    next_sweep: float = -math.inf


class Filler:
    """Fills every project on one MODEL_DIR. Of all processes on it, one at a time works."""

    def __init__(self, bench: Workbench, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._bench, self._settings, self._clock = bench, bench.settings, clock
        self._turns: dict[int, _Turns] = {}
        self._log_once = LogOnce()
        self.is_chosen = False  # whether this is the process that fills, and so the one that loads the generator

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`, whenever no other process does."""
        lock = FileLock(self._settings.model_dir / "filler.lock")
        while not stop.is_set():
            try:
                with lock.acquire(timeout=0):
                    self.is_chosen = True
                    self._bench.problems.begin_anew()
                    while not stop.is_set():
                        self.look(stop)
                        self._log_once.forget("MODEL_DIR")
                        stop.wait(0.5)
            except Timeout:
                stop.wait(1)
            except (OSError, RegistryError) as error:  # MODEL_DIR is away for a moment, or read-only
                if self._log_once.is_news("MODEL_DIR", str(error)):
                    logger.warning("the filler waits, MODEL_DIR=%s fails it (%s)", self._settings.model_dir, error)
                stop.wait(self._settings.filling.fill_every_seconds)
            finally:
                self.is_chosen = False

    def look(self, stop: threading.Event) -> None:
        """Makes a pass over each project that asked for it, whose timer ran out, or whose champion changed.

        What fails one project stops no other.
        """
        for folder in known_projects(self._settings.model_dir):
            if stop.is_set():
                return
            turns = self._turns.setdefault(folder.project_id, _Turns())
            serving = self._bench.champions.of(folder.project_id).serving
            has_new_champion = serving is not None and serving.version != turns.last_version
            if self._is_asked_for(folder, turns) or has_new_champion or self._clock() >= turns.next_pass:
                has_unscored = serving is not None and serving.version != turns.shown.scored
                rest_seconds = self._pass_over(folder, turns, stop, has_new_version=has_unscored)
                turns.last_version = serving.version if serving else None
                turns.last_pass = self._clock()
                turns.next_pass = turns.last_pass + rest_seconds

    def _is_asked_for(self, folder: ProjectFolder, turns: _Turns) -> bool:
        """Whether somebody asked for a pass. A request that cannot be taken away counts for nothing: it would be there again at once."""
        problem, is_asked_for = "", False
        try:
            # Label Studio calls /setup before every /predict: an open label stream must not keep the filler busy.
            is_rested = self._clock() >= turns.last_pass + _REST_SECONDS
            is_asked_for = folder.take_request("fill") or (is_rested and folder.take_request("look"))
        except (RegistryError, OSError) as error:
            problem = f"it is filled every {self._settings.filling.fill_every_seconds:g} s and not when asked: {_sentence(error)}"
        self._bench.problems.note(folder.project_id, "requests", problem)
        return is_asked_for

    def _pass_over(self, folder: ProjectFolder, turns: _Turns, stop: threading.Event, *, has_new_version: bool) -> float:
        """Makes one pass. Returns the seconds until the next one: 0 if there is more to do.

        After a failure they are FILL_EVERY_SECONDS: to try again at once would not help.
        """
        turns.end = self._clock() + _PASS_SECONDS
        problems, project_id = self._bench.problems, folder.project_id

        def should_stop() -> bool:
            return stop.is_set() or (self._clock() > turns.end and self._has_others())

        def patience_seconds() -> float:
            """How long a call may be repeated; after the turn's end not at all, so that no number of failing calls makes it longer."""
            return max(0.0, min(_AWAITED_SECONDS, turns.end - self._clock())) if self._has_others() else _PATIENCE_SECONDS

        if turns.project is None:
            turns.project = LabelStudioProject.for_daemon(
                self._settings.studio, project_id, stop=stop, patience_seconds=patience_seconds
            )
        project = turns.project
        try:
            opened = open_pass(project, folder, turns.shown, self._bench)
            result = opened.run(should_stop, has_new_version=has_new_version)
            if result.is_done:
                self._bench.metrics.unfillable(project_id, result.dropped)
                self._log_unfilled(project_id, result.dropped)
                self._sweep(project, folder, turns, should_stop)
            problems.note(project_id, "pass")
        except (PairloopError, OSError) as error:
            if not stop.is_set():
                problems.note(project_id, "pass", _sentence(error))
            return self._settings.filling.fill_every_seconds
        except Exception:  # the outermost call: this thread must outlive whatever one project does to it
            problems.note(project_id, "pass", "the filler failed", has_trace=True)
            return self._settings.filling.fill_every_seconds
        if not result.is_done:
            return 0.0
        return self._settings.filling.fill_every_seconds if turns.shown.is_sure else _REST_SECONDS

    def _sweep(self, project: LabelStudioProject, folder: ProjectFolder, turns: _Turns, should_stop: Callable[[], bool]) -> None:
        """Removes the outdated predictions of one page of tasks. After the last page, or a failure, it rests for an hour."""
        serving, now = self._bench.champions.of(folder.project_id).serving, self._clock()
        if serving is None or now < turns.next_sweep:
            return
        try:
            turns.swept_to = remove_outdated(
                project, Versions(folder).all(), served=serving.version, above=turns.swept_to, should_stop=should_stop
            )
        except StudioError as error:
            turns.swept_to = 0
            logger.warning("project %d: outdated predictions stay for now: %s", folder.project_id, error)
        turns.next_sweep = now if turns.swept_to else now + _SWEEP_SECONDS

    def _has_others(self) -> bool:
        """Whether there is more than one project; one may be added during a pass that takes hours."""
        return len(list(known_projects(self._settings.model_dir))) > 1

    def _log_unfilled(self, project_id: int, dropped: Mapping[str, int]) -> None:
        """Logs which tasks of the project stay without answers, unless that was logged last."""
        reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(dropped.items()))
        if not reasons:
            self._log_once.forget(project_id)
        elif self._log_once.is_news(project_id, reasons):
            logger.warning("project %d: tasks without answers: %s", project_id, reasons)


def _sentence(error: PairloopError | OSError) -> str:
    """What is wrong, as preference/projects/status.py says it of a file that it cannot read."""
    if isinstance(error, PairloopError):
        return str(error)
    return f"{error.filename} cannot be read ({error.strerror}); fix or remove it"
