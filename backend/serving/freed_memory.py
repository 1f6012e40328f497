"""What requests took of memory and freed, given back to the system: the C library keeps it, in an arena for each thread."""

import threading
import time

from preference.models.out_of_memory import return_freed_memory

_WORTH_SECONDS = 0.05  # of CPU time; to give back takes some milliseconds


def keep_returning(stop: threading.Event, *, every_seconds: float = 2) -> None:
    """Gives back until `stop` what this process has freed, whenever it has computed."""
    returned_at = 0.0
    while not stop.wait(every_seconds):
        if time.process_time() - returned_at > _WORTH_SECONDS:
            return_freed_memory()
            returned_at = time.process_time()
