"""The filler: visits each project when there is something to do for it.

A task's own data says whether it is answered, its predictions say whether it is scored, so nothing is remembered here:
a crash loses at most the batch in flight, and the next visit finds it again.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from filelock import FileLock, Timeout

from backend.filling.outdated_predictions import remove_outdated
from backend.filling.project_pass import ProjectPass
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champions
from preference.errors import PairloopError, RegistryError, StudioError
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.filling")
_REST_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0  # from one removal of outdated predictions to the next
_VISIT_SECONDS = 60.0  # then the other projects have their turn


@dataclass
class _Seen:
    """What the filler knows of a project between visits; times are on its clock."""

    next_visit: float = -math.inf
    last_visit: float = -math.inf
    seen_version: str | None = None  # the champion that the last visit worked with
    scored_version: str | None = None  # the champion by which all open tasks were scored
    swept_to: int = 0  # the task after which the removal of outdated predictions goes on; 0 is the first
    next_sweep: float = -math.inf
    is_row_sure: bool = False  # whether the backend's row was found as it should be since it was last set


class Filler:
    """Fills every project on one MODEL_DIR; among all processes on it, one at a time works."""

    def __init__(
        self,
        settings: Settings,
        champions: Champions,
        scheduler: Scheduler,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds."""
        self._settings, self._champions, self._scheduler, self._metrics = settings, champions, scheduler, metrics
        self._clock = clock
        self._seen: dict[int, _Seen] = {}
        self._log_once = LogOnce()
        self.is_chosen = False  # whether this is the process that fills, and so the one that loads the generator

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`, whenever no other process does."""
        lock = FileLock(self._settings.model_dir / "filler.lock")
        while not stop.is_set():
            try:
                with lock.acquire(timeout=0):
                    self.is_chosen = True
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
        """Visits each project that asked for it, whose timer ran out, or whose champion changed."""
        for folder in known_projects(self._settings.model_dir):
            seen = self._seen.setdefault(folder.project_id, _Seen())
            champion, now = self._champions.of(folder.project_id), self._clock()
            serving = champion.serving
            has_new_champion = serving is not None and serving.version != seen.seen_version
            is_wanted = folder.take_request("fill") or has_new_champion or now >= seen.next_visit
            # Label Studio's /setup comes before every predict: an open label stream must not keep the filler busy.
            is_wanted = is_wanted or (now >= seen.last_visit + _REST_SECONDS and folder.take_request("look"))
            if stop.is_set():
                return
            if is_wanted:
                has_unscored = serving is not None and serving.version != seen.scored_version
                rest_seconds = self._visit(folder, seen, stop, has_new_version=has_unscored)
                seen.seen_version = serving.version if serving else None
                seen.last_visit = self._clock()
                seen.next_visit = seen.last_visit + rest_seconds

    def _visit(self, folder: ProjectFolder, seen: _Seen, stop: threading.Event, *, has_new_version: bool) -> float:
        """Seconds until the timer runs out: 0 where there is more to do; after a failure all of them, for asking at once cures none."""
        until = self._clock() + _VISIT_SECONDS
        project = LabelStudioProject(self._settings, folder.project_id, stop=stop)
        visit: ProjectPass | None = None

        def is_over() -> bool:
            return stop.is_set() or (self._clock() > until and self._has_others())

        try:
            visit = ProjectPass(
                project,
                folder,
                self._settings,
                champion=self._champions.of(folder.project_id),
                scheduler=self._scheduler,
                metrics=self._metrics,
                is_thorough=not seen.is_row_sure,
            )
            is_done = visit.run(is_over, has_new_version=has_new_version)
        except PairloopError as error:
            if not stop.is_set():
                self._warn(folder, str(error))
            return self._settings.filling.fill_every_seconds
        except Exception:  # a door: this thread must outlive whatever one project does to it
            logger.exception("project %d: the filler failed", folder.project_id)
            return self._settings.filling.fill_every_seconds
        finally:
            if visit is not None:
                seen.scored_version = visit.scored_version or seen.scored_version
                seen.is_row_sure &= not visit.has_mended
        if not is_done:
            return 0.0
        self._metrics.unfillable(folder.project_id, visit.dropped)
        left = ", ".join(f"{count} ({reason})" for reason, count in sorted(visit.dropped.items()))
        self._warn(folder, f"tasks left unanswered: {left}" if left else "")
        self._sweep(project, folder, seen, is_over)
        seen.is_row_sure = not visit.has_mended
        return self._settings.filling.fill_every_seconds if seen.is_row_sure else _REST_SECONDS

    def _sweep(self, project: LabelStudioProject, folder: ProjectFolder, seen: _Seen, is_over: Callable[[], bool]) -> None:
        """Removes a page's outdated predictions; once all pages were seen to, or after a failure, not for a while."""
        serving, now = self._champions.of(folder.project_id).serving, self._clock()
        if serving is None or now < seen.next_sweep:
            return
        try:
            seen.swept_to = remove_outdated(
                project, Versions(folder).all(), served=serving.version, above=seen.swept_to, is_over=is_over
            )
        except StudioError as error:
            seen.swept_to = 0
            logger.warning("project %d: outdated predictions stay for now: %s", folder.project_id, error)
        seen.next_sweep = now if seen.swept_to else now + _SWEEP_SECONDS

    def _has_others(self) -> bool:
        """Whether there is more than one project; one may come during a visit that takes hours."""
        return len(list(known_projects(self._settings.model_dir))) > 1

    def _warn(self, folder: ProjectFolder, message: str) -> None:
        if not message:
            self._log_once.forget(folder.project_id)
        elif self._log_once.is_news(folder.project_id, message):
            logger.warning("project %d: %s", folder.project_id, message)
