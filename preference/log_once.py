"""What was logged already: a problem that lasts is one line of the log, and not one at each try."""

import threading
from collections.abc import Hashable


class LogOnce:
    """Remembers the last problem of each subject. Safe for any number of threads.

    if self._log_once.is_news(project_id, str(error)):
        logger.warning("project %d: %s", project_id, error)
    """

    def __init__(self) -> None:
        self._problems: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def is_news(self, subject: Hashable, problem: str = "") -> bool:
        """Whether the subject had no problem, or another one; `problem` is its problem from now on."""
        with self._lock:
            is_known = self._problems.get(subject) == problem
            self._problems[subject] = problem
            return not is_known

    def forget(self, subject: Hashable) -> None:
        """The subject is well again: whatever is wrong with it next is news."""
        with self._lock:
            self._problems.pop(subject, None)
