"""How much memory the requests of one process may take together, so that no body and no number of them takes the machine's.

What JSON becomes is more than its bytes: the twelve of an empty task are some 500 in Python. So a body counts by what it may become
at worst, which is known while it arrives. What is too much is refused before anything is made of it.
Covered: any number of threads, bodies in chunks, bodies that come to the process slowly, the predictions that answer them.
Not covered: what models take. Who may compute, and how much at once, is in serving/seats.py.
"""

import ctypes
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from werkzeug.exceptions import RequestEntityTooLarge, ServiceUnavailable

MOST_BYTES = 212 * 2**20  # of all requests of the process together
FREE_BYTES = 2**20  # of each request, which is not counted: what people wait for is short, and is never refused
_LONG_BYTES = 16 * 2**20  # a request for which it is worth some milliseconds to have room
# What begins a value of JSON. Of all bodies that were tried, an empty task with its three takes most for each: 150 bytes.
_MARKS, _BYTES_A_MARK = (b"{", b"[", b","), 200
_FOUR_BYTES, _ESCAPED_PAIR = re.compile(rb"[\xf0-\xff]"), re.compile(rb"\\u[dD]")  # an emoji, in UTF-8 and in JSON


class Weight:
    """What a body may take at worst, as far as it has arrived."""

    def __init__(self) -> None:
        self._num_bytes = self._num_marks = 0
        self._width = self._width_inside = 1  # bytes of a letter in Python: of the body's text, and of the texts in it
        self._end = b""

    def add(self, piece: bytes) -> None:
        """Counts what came next."""
        seen = self._end + piece
        self._end = seen[-2:]
        self._num_bytes += len(piece)
        self._num_marks += sum(piece.count(mark) for mark in _MARKS)
        if not piece.isascii():
            self._width = max(self._width, 4 if _FOUR_BYTES.search(piece) else 2)
        if b"\\u" in seen:
            self._width_inside = max(self._width_inside, 4 if _ESCAPED_PAIR.search(seen) else 2)

    @property
    def num_bytes(self) -> int:
        """The memory. One emoji makes each letter of its text take four bytes.

        While it is parsed, there are the bytes, their text, a part of that, and what it becomes, which is a quarter larger at times;
        later a text, its UTF-16 and a corrected copy.
        """
        inside = max(self._width, self._width_inside)
        return self._num_bytes * (2 + self._width + 2 * inside) + self._num_marks * _BYTES_A_MARK


class RequestMemory:
    """The memory of one process for requests. Safe for any number of threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """A request's share, which it has until the end of the `with`."""
        share = Share(self)
        try:
            yield share
        finally:
            share.grow_to(0)

    def exchange(self, held: int, wanted: int) -> bool:
        """Whether there was room for `wanted` bytes in place of those `held`; if not, what is held is given back.

        Both in one step: else two that meet each refuse the other.
        """
        with self._lock:
            self._taken -= held
            if self._taken + wanted > self.most_bytes:
                return False
            self._taken += wanted
            return True


def _give_back() -> None:
    """Gives what earlier requests freed back to the machine: glibc's allocator keeps it, for each thread by itself."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Share:
    """What one request takes of it."""

    def __init__(self, memory: RequestMemory) -> None:
        self._memory, self._num_counted = memory, 0
        self._num_asked = 0

    def grow_by(self, num_bytes: int) -> None:
        """Takes as much more: for an answer, say. Otherwise as `grow_to`."""
        self.grow_to(self._num_asked + num_bytes)

    def grow_to(self, num_bytes: int) -> None:
        """Takes as much as that. If it is refused, it takes nothing, so that whoever arrives beside it finds room.

        Raises:
            RequestEntityTooLarge: no request may take so much.
            ServiceUnavailable: with what others take, it is too much now.
        """
        held, self._num_counted, self._num_asked = self._num_counted, 0, num_bytes
        if num_bytes > _LONG_BYTES >= held:
            _give_back()
        wanted, megabytes = max(0, num_bytes - FREE_BYTES), self._memory.most_bytes >> 20
        if not self._memory.exchange(held, wanted):
            if wanted > self._memory.most_bytes:
                raise RequestEntityTooLarge(
                    f"To read this request would take more than {megabytes} MB of memory; send fewer tasks at a time."
                )
            raise ServiceUnavailable(
                f"Other requests take the {megabytes} MB of memory that a worker has for them; send fewer tasks at a time, or try again."
            )
        self._num_counted = wanted
