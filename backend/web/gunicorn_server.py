"""gunicorn as Pairloop runs it: gthread workers, which share what the master has imported and the bases that it has loaded.

SIGTERM or SIGINT: no new connections; requests in flight are answered, and what the filler is storing is stored, for up to
DRAIN_SECONDS. A second one, or SIGQUIT, ends at once; the next start takes up what was not stored. Both exit with status 0.
Covered: a worker that is killed is replaced, and its gauges go.
"""

import fcntl
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.util import import_app

from backend.rewards_api.arrival import NUM_THREADS
from backend.web.gunicorn_worker import ENDING
from preference.errors import PairloopError
from preference.heavy_imports import lean_imports
from preference.settings import Settings

logger = logging.getLogger("pairloop.web")
DRAIN_SECONDS = 30
_PREFIX = "pairloop-metrics-"
_STARTING_SECONDS = 60.0
# numpy imports the last when it first takes a median.
_SHARED = ("backend.web.app", "backend.serving.process", "preference.generation.huggingface", "numpy.ma")


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured from Settings."""

    def __init__(self, settings: Settings, *, tallies: Path) -> None:
        """`tallies`: the folder into which workers count, which PROMETHEUS_MULTIPROC_DIR names as well."""
        self._settings, self._tallies = settings, tallies
        super().__init__()

    def run(self) -> None:
        """Serves until a signal; ends by SystemExit."""
        _Master(self).run()

    def load_config(self) -> None:
        """Called by gunicorn."""
        options: dict[str, Any] = {
            "bind": f"{self._settings.server.host}:{self._settings.server.port}",
            "workers": self._settings.server.workers,
            "threads": self._settings.server.threads + NUM_THREADS,
            "worker_class": "backend.web.gunicorn_worker.Worker",
            "timeout": 120,
            "graceful_timeout": DRAIN_SECONDS,
            "preload_app": False,
            "control_socket_disable": True,
            "proc_name": "pairloop-backend",
            "loglevel": self._settings.log_level.lower(),
            "logger_class": _Log,
            "when_ready": lambda master: master.load_ahead(self._settings),
            "post_worker_init": _watch_for_the_end,
            "worker_int": lambda worker: os._exit(0),  # threads in the middle of a request would keep it for as long as they take
            "worker_exit": _stop_backend,
            "child_exit": self._worker_ended,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI app, in each worker after its fork. If it cannot be made, the log says why, and the server ends."""
        try:
            return import_app("backend._wsgi:app")  # by name, as gunicorn's users write it: that file imports this folder
        except (PairloopError, OSError) as error:
            logger.critical("the worker cannot start: %s", error)
        except Exception:  # gunicorn would print it, too, outside the log
            logger.exception("the worker cannot start")
        sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _worker_ended(self, server: Any, worker: Any) -> None:
        from backend.monitoring.worker_counts import (
            WorkerCounts,  # not above: prometheus-client asks at its import whether there is a folder
        )

        WorkerCounts(self._tallies).end(worker.pid)


@contextmanager
def tallies_folder() -> Iterator[Path]:
    """A folder for what the workers count, removed at the end; those of servers that were killed are removed before."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder, master = Path(tempfile.mkdtemp(prefix=_PREFIX)), os.getpid()
    # Not a FileLock: a worker that ends would unlock what it inherited. systemd-tmpfiles deletes no folder that is locked so.
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        if os.getpid() == master:  # a worker ends here too
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


class _Master(Arbiter):  # type: ignore[misc]
    """gunicorn's master, to which SIGINT is SIGTERM, and a second one of either SIGQUIT."""

    _is_stopping = _is_loading = False

    def load_ahead(self, settings: Settings) -> None:
        """Imports and loads what each worker would, most of its memory and start; connections wait meanwhile."""
        self._is_loading = True
        with suppress(Exception), lean_imports():  # a worker logs what cannot be imported
            for module in _SHARED:
                import_module(module)
            from backend.scoring.served_bases import load_served_bases

            load_served_bases(settings)
        self._is_loading = False

    def spawn_worker(self) -> int:
        """As gunicorn's; a signal that comes before the worker's own handlers waits for them (gunicorn_worker.py).

        To the master's, which a worker begins with, it would be lost, and the master would wait for DRAIN_SECONDS.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return pid

    def signal(self, sig: int, frame: Any) -> None:
        if self._is_loading and sig in ENDING:
            sys.exit(0)  # there is no worker yet
        if sig in (signal.SIGTERM, signal.SIGINT):
            sig, self._is_stopping = (signal.SIGQUIT if self._is_stopping else signal.SIGTERM), True
        super().signal(sig, frame)


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's lines in the process's own log."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


def _is_in_use(folder: Path) -> bool:
    """Whether a server or a worker of its is alive, or one may be just starting. Other users' folders are taken to be so."""
    try:
        state = folder.lstat()
        if state.st_uid != os.getuid() or time.time() - state.st_mtime < _STARTING_SECONDS:
            return True
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # deleted meanwhile, or no folder
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _watch_for_the_end(worker: Any) -> None:
    """Stops the backend as soon as the worker is asked to end, so that no request in flight waits for the generator."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the master decides

    def watch() -> None:
        while worker.alive and worker.ppid == os.getppid():  # a signal handler must not take the locks that stopping takes
            time.sleep(0.1)
        _stop_backend(None, worker)

    threading.Thread(target=watch, name="end", daemon=True).start()


def _stop_backend(server: Any, worker: Any) -> None:
    if worker.pid != os.getpid():  # the master calls this, too, for a worker that ended before its signal
        return
    from backend.serving.process import started_backend

    if started_backend.cache_info().currsize:
        started_backend().stop()
