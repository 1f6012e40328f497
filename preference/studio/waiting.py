"""What waits to be sent to Label Studio together: its work is a request more than what stands in it.

Covered: the first one waits for no other; none waits longer than a rest for a group that does not become full.
"""

import math
import time
from typing import TypeVar

T = TypeVar("T")


class Waiting(list[T]):
    """What waits, the first to be sent first. Used by one thread."""

    def __init__(self, *, rest_seconds: float) -> None:
        """`rest_seconds`: from one group to the next that is not full."""
        super().__init__()
        self._rest_seconds = rest_seconds
        self._end_of_rest = -math.inf  # on the clock of time.monotonic

    @property
    def seconds_left(self) -> float:
        """Until what there is goes, full or not; infinite if a rest has nothing to do with it."""
        seconds = self._end_of_rest - time.monotonic()
        return seconds if self and seconds > 0 else math.inf

    def take(self, most: int, *, is_last: bool) -> list[T]:
        """The next group, of at most so many; empty if more may come, and it is neither full nor has rested. `is_last`: no more come."""
        now = time.monotonic()
        if not self or (len(self) < most and not is_last and now < self._end_of_rest):
            return []
        self._end_of_rest = now + self._rest_seconds
        taken = self[:most]
        del self[:most]
        return taken

    def put_back(self, taken: list[T]) -> None:
        """Puts a group back to the front; it may go at once."""
        self[:0] = taken
        self._end_of_rest = -math.inf
