"""When a request for rewards arrived, and how one is known before it is read: backend/web/gunicorn_worker.py has them wait in a line.

Importing this loads nothing: the worker's main thread asks it at every request.
"""

import re
import time
from contextvars import ContextVar

NUM_THREADS = 2  # of a worker for rewards: one computes, and one reads the next request meanwhile
ROUTES = ("score", "get_reward", "classify", "pooling")
_REQUEST = re.compile(rf"POST /(?:projects/[^/ ?]*/)?(?:{'|'.join(ROUTES)})[ ?]".encode())
REQUEST_BYTES = 128  # which hold as much of a request as is needed
_ARRIVED: ContextVar[float] = ContextVar("arrived")


def is_for_rewards(head: bytes) -> bool:
    """Whether a request that begins so asks for rewards."""
    return _REQUEST.match(head) is not None


def remember_arrival(at: float) -> None:
    """Says when the request arrived that this thread is about to answer; `at` is of time.monotonic."""
    _ARRIVED.set(at)


def arrived_at() -> float:
    """When this thread's request arrived; now, if the server does not say it."""
    return _ARRIVED.get(time.monotonic())
