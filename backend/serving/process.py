"""One backend process: its projects, its models, and the threads that promotions, filling and generation run in."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch

from backend.filling.filler import Filler
from backend.filling.workbench import Workbench
from backend.monitoring.metrics import Metrics
from backend.serving.freed_memory import keep_returning
from backend.serving.predict import Predictor, Results
from preference.errors import RegistryError
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.layouts import layout_of
from preference.projects.folder import ProjectFolder
from preference.settings import Settings

logger = logging.getLogger("pairloop.serving")
_starting = threading.Lock()


class Backend:
    """What a backend process does, behind whatever web server. Of its methods only `predict` may wait for a model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.model_dir)
        bench = Workbench.from_settings(settings, self.metrics)
        self.champions, self.scheduler, self._bench = bench.champions, bench.scheduler, bench
        self.filler = Filler(bench)
        self._stop = threading.Event()
        self.predictor = Predictor(bench, self.filler, self._stop)
        self.threads: list[threading.Thread] = []
        self._hosts: dict[int, str] = {}  # project id -> the host and port by which Label Studio reaches this backend

    def start(self) -> None:
        """Starts to follow promotions and, if there is a key for Label Studio, to fill."""
        torch.set_num_threads(self.settings.num_torch_threads)
        self.settings.model_dir.mkdir(parents=True, exist_ok=True)
        jobs: dict[str, Callable[[], None]] = {
            "champions": partial(self.champions.keep_fresh, self._stop),
            "freed memory": partial(keep_returning, self._stop),
        }
        if self.settings.studio.has_key:
            jobs |= {"filler": partial(self.filler.run, self._stop), "generator": self.scheduler.run}
            if self._bench.rival is not None:
                jobs["rival generator"] = self._bench.rival.run
        else:
            logger.warning("LABEL_STUDIO_API_KEY is not set: answered tasks are scored on request, nothing is filled")
        if self.champions.first is not None:  # last: at the end, a model that is being fetched takes nobody else's time
            jobs["first version"] = partial(self.champions.keep_providing, self._stop)
        self.threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs.items()]
        for thread in self.threads:
            thread.start()

    def stop(self, *, timeout_seconds: float = 25) -> None:
        """Waits up to `timeout_seconds` for answers that are being stored; those that are being written are abandoned."""
        deadline = time.monotonic() + timeout_seconds
        self._stop.set()
        self._bench.stop()
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to be computed."""
        return self._stop.is_set()

    def setup(self, project_id: int, label_config: str, *, host: str | None) -> str:
        """The version to name to Label Studio. Makes the project known, and asks the filler for a pass over it soon.

        Raises:
            LayoutError: the label config does not fit.
            RegistryError: the project is new, and MODEL_DIR cannot be written.
        """
        if not isinstance(layout_of(label_config), DemonstrationLayout):
            self.champions.compares(project_id)
        folder = ProjectFolder(self.settings.model_dir, project_id)
        champion = self.champions.of(project_id)
        is_known = folder.path.is_dir()
        try:
            if host and host != self._hosts.get(project_id):
                folder.create()
                folder.write_host(host)
                self._hosts[project_id] = host
            folder.reconnect()  # Label Studio calls this for a connection, which somebody made with `connect` or by hand
            folder.request("look")
        except RegistryError:  # the filler logs it; people who open tasks keep their suggestions
            if not is_known:
                raise
        return champion.version

    def predict(
        self,
        project_id: int,
        label_config: str,
        tasks: Sequence[Mapping[str, Any]],
        make_room: Callable[[int], object] = lambda num_bytes: None,
    ) -> Results:
        """One entry a task, in order: its prediction, or `[]` if that is not ready within PREDICT_SECONDS.

        `make_room`: as for Predictor.predict.

        Raises:
            LayoutError: the label config does not fit.
        """
        return self.predictor.predict(project_id, label_config, tasks, make_room)


def process_backend() -> Backend:
    """This process's backend, built from the environment and started at the first call."""
    with _starting:  # a server's first requests arrive together
        return started_backend()


@lru_cache(maxsize=1)
def started_backend() -> Backend:
    """The same, for `process_backend` alone; its `cache_info` shows whether there is one."""
    backend = Backend(Settings.from_environ())
    backend.start()
    return backend
