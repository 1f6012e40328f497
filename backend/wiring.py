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
_ASK_AGAIN_SECONDS = 5.0


class Backend:
    """What a backend process does, whatever web server stands before it. Its methods never wait for a model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.champions = Champions(settings.model_dir, device=pick_device(settings.device))
        self._filler = Filler(settings, self.champions, lambda: ENGINES[settings.generator_engine](settings), self.metrics)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._asked: dict[int, tuple[str | None, float]] = {}  # project id -> its host, and when a pass was asked for

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
        """The version to name to Label Studio. Makes the project known, and asks for a pass of the filler.

        Raises:
            LayoutError: the label config does not fit.
        """
        LabelingLayout.from_label_config(label_config)
        registry = Registry(self.settings.model_dir, project_id)
        champion = self.champions.of(project_id)
        known_host, asked_at = self._asked.get(project_id, (None, -_ASK_AGAIN_SECONDS))
        if host and host != known_host:
            registry.create()
            registry.write_host(host)
        # Label Studio calls this before every predict: an open label stream must not keep the filler busy.
        if time.monotonic() - asked_at >= _ASK_AGAIN_SECONDS:
            registry.request("fill")
            asked_at = time.monotonic()
        self._asked[project_id] = (host or known_host, asked_at)
        return champion.version

    def predict(self, project_id: int, label_config: str, tasks: Sequence[dict[str, Any]]) -> list[Prediction | list[Any]]:
        """One entry a task, in order; tasks without answers get `[]` and are left to the filler.

        Raises:
            LayoutError: the label config does not fit.
        """
        layout = LabelingLayout.from_label_config(label_config)
        if any(None in layout.answers(task["data"]) for task in tasks):
            Registry(self.settings.model_dir, project_id).request("fill")
        return predict_tasks(tasks, layout, self.champions.of(project_id).serving)


@lru_cache(maxsize=1)
def process_backend() -> Backend:
    """This process's backend, built from the environment and started at the first call."""
    backend = Backend(Settings.from_environ())
    backend.start()
    return backend
