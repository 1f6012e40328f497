"""REWARD_MODEL in a serving process: each project without a champion gets it as its first version.

If it cannot be loaded, it is tried again after growing waits: access to it may be asked for meanwhile, or its files copied.
"""

import logging
import time
from collections.abc import Callable

from preference.errors import PairloopError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions

logger = logging.getLogger("pairloop.scoring")
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 30.0, 900.0
Publish = Callable[[ProjectFolder], str | None]  # as publish_version_zero gives


class FirstVersion:
    """Gives projects their first version. `problem` and `is_loading` may be read from any thread; one thread calls `provide`.

    That thread does nothing else: a model may be fetched and loaded for minutes.
    """

    def __init__(self, publish: Publish, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self.problem: str | None = None  # why there is none
        self.is_loading = False
        self._publish, self._clock = publish, clock
        # Project id -> its champion when it was last looked at, "" if its pointer was there and named none.
        self._looked_at: dict[int, str] = {}
        self._num_failures, self._next_try = 0, 0.0

    def provide(self, folder: ProjectFolder) -> None:
        """Publishes the version, if the project has none and it can be loaded."""
        versions = Versions(folder)
        champion = versions.champion()
        if champion is None and not versions.has_no_pointer:
            champion = ""
        if champion is not None and self._looked_at.get(folder.project_id) == champion:
            return
        if self._clock() < self._next_try:
            return
        self.is_loading = True
        try:
            version = self._publish(folder)
        except PairloopError as error:
            self._fail(str(error))
        except Exception as error:  # a damaged model may raise anything, and the projects must be followed on
            logger.exception("REWARD_MODEL cannot be loaded")
            self._fail(f"{type(error).__name__}; the log has the trace")
        else:
            self.problem, self._num_failures = None, 0
            if version is not None:
                logger.info(
                    "project %d: %s is REWARD_MODEL, and the champion until a challenger is better", folder.project_id, version
                )
            if (seen := version or champion) is not None:
                self._looked_at[folder.project_id] = seen
        finally:
            self.is_loading = False

    def _fail(self, reason: str) -> None:
        problem = f"REWARD_MODEL is not served: {reason}"
        if problem != self.problem:
            logger.error("%s", problem)
        self.problem = problem
        self._next_try = self._clock() + min(_FIRST_WAIT_SECONDS * 2 ** min(self._num_failures, 10), _LONGEST_WAIT_SECONDS)
        self._num_failures += 1
