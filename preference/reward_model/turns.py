"""Turns at a model that computes for one caller at a time, in the order in which they asked.

A threading.Lock goes to whoever is quickest, and that is the thread that has just released it: under 200 clients somebody who opened
one task waited 40 seconds for a request of hundreds, which took the lock for batch after batch.
"""

import threading
from collections import deque
from typing import Any


class Turns:
    """A lock that goes to whoever has waited longest. Not reentrant."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    @property
    def num_waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def __enter__(self) -> None:
        called = threading.Event()
        with self._changing:
            if not self._is_taken:
                self._is_taken = True
                return
            self._waiting.append(called)
        try:
            called.wait()
        except BaseException:  # Ctrl-C in the main thread
            with self._changing:
                if called in self._waiting:
                    self._waiting.remove(called)
                    raise
            self.__exit__()
            raise

    def __exit__(self, *_: Any) -> None:
        with self._changing:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False
