"""gunicorn's gthread worker, which lends a thread to a request from its first byte on and ends requests that do not arrive.

Without it, as many connections as there are threads stop a worker: those that send nothing for 5 s each, those that stop in
the middle of a request for as long as they stay. The cause: gunicorn 27.0's gthread takes a thread before the first byte is
there and reads without a time limit (`timeout` watches its main loop alone), and has no setting for either. It uses names that
are private to 27, so pyproject.toml asks for 27; a gthread that limits both ends it.
Requests for rewards get threads of their own (rewards_api/arrival.py), and wait in a line until one of those is free, unread and without
a thread: a program that trains sends hundreds at once, and people who open tasks are answered meanwhile.
Not covered: more such connections than threads, which wait for each other in turn, 20 s each; a proxy that takes whole requests
before it passes them on covers it.
"""

import signal
import socket
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

from backend.rewards_api.arrival import NUM_THREADS, REQUEST_BYTES, is_for_rewards, remember_arrival

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_MOST_WAITING = 512  # in the line; gunicorn takes 1,000 connections, and /health must find room


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread as gunicorn 27 has it, beside what the module says."""

    arrival_seconds = 20.0  # for a whole request, from its first byte on

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: dict[TConn, float] = {}
        self._rewarded: set[TConn] = set()  # those that have a thread
        self._line: deque[tuple[TConn, float]] = deque()  # connections, and since when each waits

    def init_signals(self) -> None:
        """Those that came since the fork are handled now; the master blocks them before it (gunicorn_server.py)."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def enqueue_req(self, conn: TConn) -> None:
        """Called in the main thread. A new connection waits in the poller, as one that is kept alive does."""
        if conn.initialized or conn.data_ready:
            if not _asks_for_rewards(conn):
                super().enqueue_req(conn)
            elif len(self._line) >= _MOST_WAITING:
                conn.waits_since = float("-inf")  # which is answered at once, with 503
                super().enqueue_req(conn)
            else:
                self._line.append((conn, time.monotonic()))
                self._serve_line()
            return
        parked: Future[object] = Future()
        parked.set_result(_DEFER)
        self.finish_request(conn, parked)

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """Called in the main thread, after a request was answered."""
        self._rewarded.discard(conn)
        super().finish_request(conn, fs)
        self._serve_line()

    def _serve_line(self) -> None:
        while self._line and len(self._rewarded) < NUM_THREADS:
            conn, since = self._line.popleft()
            conn.waits_since = since
            self._rewarded.add(conn)
            super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        """Called in a request thread."""
        remember_arrival(vars(conn).pop("waits_since", time.monotonic()))
        self._begun[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            del self._begun[conn]

    def murder_pending(self) -> None:
        """Called in the main thread, every second at least. No more is read of old requests; whole ones are answered."""
        super().murder_pending()
        oldest = time.monotonic() - self.arrival_seconds
        for conn, begun in self._begun.copy().items():
            if begun < oldest:
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)


def _asks_for_rewards(conn: TConn) -> bool:
    """Whether the request that is there, and not read yet, asks for rewards."""
    try:
        return is_for_rewards(conn.sock.recv(REQUEST_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing is there, or nobody any more
        return False
