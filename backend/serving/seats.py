"""Who may use the models: a worker must keep threads for /health and /setup, to which Label Studio gives 1 and 3 seconds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

MOST_TASKS = 16  # of a request that is not long
_THREADS_KEPT = 3
Turn = Literal["compute", "read"]


class Seats:
    """The seats of one process for requests that wait for a model."""

    def __init__(self, num_threads: int) -> None:
        """`num_threads`: of the worker."""
        self.count = max(1, num_threads - _THREADS_KEPT)
        self._seats = threading.BoundedSemaphore(self.count)
        # A long request may compute for PREDICT_SECONDS. Computing is serial: a second one would gain nothing, and keep others out.
        self._long_seat = threading.BoundedSemaphore(1)
        self._reading_seat = threading.BoundedSemaphore(1)  # a long request without a seat reads files for seconds
        self._reward_seat = threading.BoundedSemaphore(1)  # of other programs, for which a worker has threads of their own

    @contextmanager
    def take(self, num_tasks: int) -> Iterator[Turn | None]:
        """What a request may do for the time of the `with`: compute, read what was computed before, or nothing (None)."""
        is_long = num_tasks > MOST_TASKS
        if (own := self._long_seat if is_long else self._seats).acquire(blocking=False):
            try:
                yield "compute"
            finally:
                own.release()
        elif not is_long:
            yield "read"
        elif self._reading_seat.acquire(blocking=False):
            try:
                yield "read"
            finally:
                self._reading_seat.release()
        else:
            yield None

    @contextmanager
    def wait_for_rewards(self, timeout_seconds: float) -> Iterator[bool]:
        """Whether a request for rewards may compute for the time of the `with`: its turn came within `timeout_seconds`."""
        if not self._reward_seat.acquire(timeout=max(0.0, timeout_seconds)):
            yield False
            return
        try:
            yield True
        finally:
            self._reward_seat.release()
