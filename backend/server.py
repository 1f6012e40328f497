"""gunicorn as Pairloop runs it: gthread workers, no preload (a forward pass before a fork hangs every worker)."""

from typing import Any

from gunicorn.app.base import BaseApplication

from preference.settings import Settings


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured from Settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        options: dict[str, Any] = {
            "bind": f"{self._settings.host}:{self._settings.port}",
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "worker_class": "gthread",
            "timeout": 120,
            "graceful_timeout": 30,
            "preload_app": False,
            "control_socket_disable": True,
            "proc_name": "pairloop-backend",
            "loglevel": self._settings.log_level.lower(),
            "worker_exit": _stop_backend,
            "child_exit": _forget_figures,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI app, in each worker after its fork."""
        from backend import _wsgi

        return _wsgi.app


def _stop_backend(server: Any, worker: Any) -> None:
    from backend.wiring import started_backend

    if started_backend.cache_info().currsize:
        started_backend().stop()


def _forget_figures(server: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)
