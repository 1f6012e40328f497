"""One backend process put together: settings, champions, filler, and the threads that keep them going."""

import logging
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from backend.champion import Champions
from backend.filling import Filler
from backend.generators import ENGINES
from backend.metrics import Metrics
from backend.predictions import Prediction, predict_tasks
from preference.backbone import pick_device
from preference.layout import LabelingLayout
from preference.registry import Registry
from preference.settings import Settings

logger = logging.getLogger(__name__)
_PREDICT_SECONDS = 60.0
_SCORED_TOGETHER = 16
_starting = threading.Lock()


class Backend:
    """What a backend process does, whatever web server stands before it. Its methods never wait for a model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.champions = Champions(settings.model_dir, device=pick_device(settings.device))
        self._filler = Filler(settings, self.champions, lambda: ENGINES[settings.generator_engine](settings), self.metrics)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        # A worker must keep threads for /health and /setup, to which Label Studio gives 1 and 3 seconds.
        self._seats = threading.BoundedSemaphore(max(1, settings.threads - 2))
        self._hosts: dict[int, str] = {}  # project id -> the host and port by which Label Studio reaches this backend

    def start(self) -> None:
        """Starts following promotions and, with a key for Label Studio, filling."""
        torch.set_num_threads(self.settings.num_torch_threads)
        self.settings.model_dir.mkdir(parents=True, exist_ok=True)
        jobs = {"champions": self.champions.keep_fresh, "filler": self._filler.run}
        if not self.settings.label_studio_api_key.get_secret_value():
            logger.warning("LABEL_STUDIO_API_KEY is not set: answered tasks are scored on request, nothing is filled")
            del jobs["filler"]
        self._threads = [threading.Thread(target=job, args=[self._stop], name=name, daemon=True) for name, job in jobs.items()]
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout_seconds: float = 25) -> None:
        """Lets the batch in flight end, up to `timeout_seconds`."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_seconds)

    def setup(self, project_id: int, label_config: str, *, host: str | None) -> str:
        """The version to name to Label Studio. Makes the project known, and lets the filler look at it soon.

        Raises:
            LayoutError: the label config does not fit.
        """
        LabelingLayout.from_label_config(label_config)
        registry = Registry(self.settings.model_dir, project_id)
        champion = self.champions.of(project_id)
        if host and host != self._hosts.get(project_id):
            registry.create()
            registry.write_host(host)
            self._hosts[project_id] = host
        registry.request("look")
        return champion.version

    def predict(self, project_id: int, label_config: str, tasks: Sequence[dict[str, Any]]) -> list[Prediction | list[Any]]:
        """One entry a task, in order; tasks without answers get `[]` and are left to the filler.

        So do those that are not scored within a minute, because Label Studio gives up a request after 100 seconds, and
        all of a request that comes while THREADS - 2 others are being scored.

        Raises:
            LayoutError: the label config does not fit.
        """
        layout = LabelingLayout.from_label_config(label_config)
        if any(None in layout.answers(task["data"]) for task in tasks):
            Registry(self.settings.model_dir, project_id).request("fill")
        results: list[Prediction | list[Any]] = [[] for _ in tasks]
        if not self._seats.acquire(blocking=False):
            return results
        try:
            self._predict(results, project_id, layout, tasks)
        finally:
            self._seats.release()
        return results

    def _predict(
        self, results: list[Prediction | list[Any]], project_id: int, layout: LabelingLayout, tasks: Sequence[dict[str, Any]]
    ) -> None:
        serving = self.champions.of(project_id).serving
        deadline = time.monotonic() + _PREDICT_SECONDS
        for start in range(0, len(tasks), _SCORED_TOGETHER):
            if time.monotonic() > deadline:
                logger.info("project %d: %d tasks of one request are left to the filler", project_id, len(tasks) - start)
                break
            end = start + _SCORED_TOGETHER
            results[start:end] = predict_tasks(tasks[start:end], layout, serving)


def process_backend() -> Backend:
    """This process's backend, built from the environment and started at the first call."""
    with _starting:  # a server's first requests come together
        return started_backend()


@lru_cache(maxsize=1)
def started_backend() -> Backend:
    """The same, for `process_backend` alone; `cache_info` tells whether there is one."""
    backend = Backend(Settings.from_environ())
    backend.start()
    return backend
