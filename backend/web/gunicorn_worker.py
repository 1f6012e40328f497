"""gunicorn's gthread worker, which lends a thread to a request from its first byte on and ends requests that do not arrive.

Without it, as many connections as there are threads stop a worker: those that send nothing for 5 s each, those that stop in
the middle of a request for as long as they stay. The cause: gunicorn 27.0's gthread takes a thread before the first byte is
there and reads without a time limit (`timeout` watches its main loop alone), and has no setting for either. It uses names that
are private to 27, so pyproject.toml asks for 27; a gthread that limits both ends it.
Not covered: more such connections than threads, which wait for each other in turn, 20 s each; a proxy that takes whole requests
before it passes them on covers it.
"""

import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread as gunicorn 27 has it, beside what the module says."""

    arrival_seconds = 20.0  # for a whole request, from its first byte on

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: dict[TConn, float] = {}

    def enqueue_req(self, conn: TConn) -> None:
        """Called in the main thread. A new connection waits in the poller, as one that is kept alive does."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        parked: Future[object] = Future()
        parked.set_result(_DEFER)
        self.finish_request(conn, parked)

    def handle(self, conn: TConn) -> Any:
        """Called in a request thread."""
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
