"""What /health answers those who may know: whether this process is ready, what it serves, what waits, what is wrong.

Covered: it never waits for a model or for Label Studio, and answers whatever lies in MODEL_DIR, or nothing.
"""

import time
from collections.abc import Callable
from typing import Any

from backend.scoring.champion import Champion
from backend.serving.process import Backend
from preference.projects.status import read_overview

_FRESH_SECONDS = 0.5  # as long as a promotion may take to be noticed


class Health:
    """What one process answers. Label Studio asks before each thing it wants, so those who ask together share one reading."""

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._backend, self._clock = backend, clock
        self._read_at, self._answer = float("-inf"), dict[str, Any]()

    def read(self) -> dict[str, Any]:
        """The answer as JSON, at most half a second old."""
        now = self._clock()
        if now - self._read_at >= _FRESH_SECONDS:
            self._answer, self._read_at = _read(self._backend), now  # two at once read twice, and are both right
        return self._answer


def _read(backend: Backend) -> dict[str, Any]:
    """Ready: nothing that this process serves, or writes with, is still being loaded."""
    overview = read_overview(backend.settings.model_dir)
    champions, first = backend.champions.all(), backend.champions.first
    is_loading = any(_is_loading(champions.get(status.project_id)) for status in overview.projects if status.champion)
    return {
        "status": "UP",
        "model_class": "PreferenceModel",  # not imported: label_studio_ml sets multiprocessing's start method and warns
        "ready": backend.scheduler.is_ready and not is_loading and not (first and first.is_loading),
        "versions": {str(project_id): champion.version for project_id, champion in champions.items()},
        "queue": backend.metrics.num_queued_prompts,
        "problems": [*overview.problems, *backend.champions.problems],
        "filling": {
            str(status.project_id): filling
            for status in overview.projects
            if (filling := status.filling.model_dump(by_alias=True, exclude_unset=True))
        },
    }


def _is_loading(champion: Champion | None) -> bool:
    """Whether a project's version is to be served, and none is served or refused yet."""
    return champion is None or (champion.serving is None and champion.problem is None)
