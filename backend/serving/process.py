"""One backend process put together: settings, champions, filler, and the threads that keep them going."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, Literal

import torch

from backend.filling.answer_rules import AnswerRules
from backend.filling.answer_stream import AnswerStream
from backend.filling.filler import Filler
from backend.filling.project_pass import candidate_score
from backend.generators.engines import ENGINES
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champions
from backend.scoring.predictions import Prediction, predict_tasks
from preference.errors import ModelError, PairloopError, RegistryError
from preference.labelling.label_config import LabelingLayout
from preference.models.pretrained import pick_device
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.serving")
_SCORED_TOGETHER = 16
_STUDIO_SECONDS = 10.0  # for a call to Label Studio while it waits for us
_starting = threading.Lock()


class Backend:
    """What a backend process does, whatever web server stands before it. Only `predict` may wait for a model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.model_dir)
        self.champions = Champions(settings.model_dir, device=pick_device(settings.device), metrics=self.metrics)
        self.scheduler = Scheduler(lambda: ENGINES[settings.generator.engine](settings), self.metrics)
        self._filler = Filler(settings, self.champions, self.scheduler, self.metrics)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        # A worker must keep threads for /health and /setup, to which Label Studio gives 1 and 3 seconds.
        self._seats = threading.BoundedSemaphore(max(1, settings.server.threads - 3))
        # A long request may compute for PREDICT_SECONDS. Computing is serial: a second one would gain nothing, and keep others out.
        self._long_seats = threading.BoundedSemaphore(1)
        self._looking_up = threading.BoundedSemaphore(1)  # a long request without a seat reads files for seconds
        self._hosts: dict[int, str] = {}  # project id -> the host and port by which Label Studio reaches this backend

    def start(self) -> None:
        """Starts following promotions and, with a key for Label Studio, filling."""
        torch.set_num_threads(self.settings.num_torch_threads)
        self.settings.model_dir.mkdir(parents=True, exist_ok=True)
        jobs: dict[str, Callable[[], None]] = {"champions": partial(self.champions.keep_fresh, self._stop)}
        if self.settings.studio.api_key.get_secret_value():
            jobs |= {"filler": partial(self._filler.run, self._stop), "generator": self.scheduler.run}
        else:
            logger.warning("LABEL_STUDIO_API_KEY is not set: answered tasks are scored on request, nothing is filled")
        self._threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs.items()]
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout_seconds: float = 25) -> None:
        """Lets what is being stored be stored, up to `timeout_seconds`; what is being written is left to the next start."""
        deadline = time.monotonic() + timeout_seconds
        self._stop.set()
        self.scheduler.stop()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def setup(self, project_id: int, label_config: str, *, host: str | None) -> str:
        """The version to name to Label Studio. Makes the project known, and lets the filler look at it soon.

        Raises:
            LayoutError: the label config does not fit.
            RegistryError: the project is new, and MODEL_DIR cannot be written.
        """
        LabelingLayout.from_label_config(label_config)
        folder = ProjectFolder(self.settings.model_dir, project_id)
        champion = self.champions.of(project_id)
        is_known = folder.path.is_dir()
        try:
            if host and host != self._hosts.get(project_id):
                folder.create()
                folder.write_host(host)
                self._hosts[project_id] = host
            folder.reconnect()  # it comes with a connection that somebody made, whether by `connect` or by hand
            folder.request("look")
        except RegistryError:  # the filler says so; people who open tasks keep their suggestions
            if not is_known:
                raise
        return champion.version

    def predict(self, project_id: int, label_config: str, tasks: Sequence[dict[str, Any]]) -> list[Prediction | list[Any]]:
        """One entry a task, in order, within PREDICT_SECONDS; what is not ready then gets `[]` and is left to the filler.

        So do tasks without answers, because Label Studio's label stream would show empty boxes beside a suggestion; one
        that is opened alone is answered first of all, so that its page shows the answers. Of a request that comes while
        THREADS - 3 others are worked on, or with more than 16 tasks beside another such, only tasks are scored whose answers
        some process has read before, which takes no backbone.

        Raises:
            LayoutError: the label config does not fit.
        """
        deadline = time.monotonic() + self.settings.server.predict_seconds
        layout = LabelingLayout.from_label_config(label_config)
        unanswered = [task for task in tasks if None in layout.answers(task["data"])]
        if unanswered:
            with suppress(RegistryError):  # MODEL_DIR cannot be written: the filler's timer finds them, too
                ProjectFolder(self.settings.model_dir, project_id).request("fill")
        results: list[Prediction | list[Any]] = [[] for _ in tasks]
        with self._turn(len(tasks)) as turn:
            if turn is not None:
                self._score(results, project_id, layout, tasks, deadline=deadline, only_known=turn == "read")
            if self.champions.of(project_id).serving is not None:
                self.metrics.tasks_put_off.inc(sum(not result for result in results) - len(unanswered))
            if turn == "compute" and unanswered and len(tasks) == 1:
                self._answer_now(project_id, layout, tasks[0], deadline=deadline)
        return results

    @contextmanager
    def _turn(self, num_tasks: int) -> Iterator[Literal["compute", "read"] | None]:
        """What a request may do now: compute, read what was computed before, or nothing."""
        is_long = num_tasks > _SCORED_TOGETHER
        seats = self._long_seats if is_long else self._seats
        if seats.acquire(blocking=False):
            try:
                yield "compute"
            finally:
                seats.release()
        elif not is_long:
            yield "read"
        elif self._looking_up.acquire(blocking=False):
            try:
                yield "read"
            finally:
                self._looking_up.release()
        else:
            yield None

    def _score(
        self, results: list[Prediction | list[Any]], project_id: int, layout: LabelingLayout, tasks: Sequence[dict[str, Any]],
        *, deadline: float, only_known: bool = False,
    ) -> None:  # fmt: skip
        serving = self.champions.of(project_id).serving
        for start in range(0, len(tasks), _SCORED_TOGETHER):
            if time.monotonic() > deadline or self._stop.is_set():
                logger.info("project %d: %d tasks of one request are left to the filler", project_id, len(tasks) - start)
                break
            end = start + _SCORED_TOGETHER
            try:
                results[start:end] = predict_tasks(
                    tasks[start:end], layout, serving, settings=self.settings, only_known=only_known
                )
            except ModelError as error:  # out of memory, say; the page opens without a suggestion
                logger.warning("project %d: %d tasks of a request cannot be scored: %s", project_id, len(tasks) - start, error)
                break

    def _answer_now(self, project_id: int, layout: LabelingLayout, task: dict[str, Any], *, deadline: float) -> None:
        """Answers and stores a task that somebody has opened, where this process is the one that has the generator."""
        if not self._filler.is_chosen or not task.get("id"):
            return
        project = LabelStudioProject(
            self.settings, project_id, patience_seconds=_STUDIO_SECONDS, timeout_seconds=_STUDIO_SECONDS, stop=self._stop
        )
        stream = AnswerStream(
            project, layout, AnswerRules(layout, self.settings, self.scheduler.generator), self.scheduler,
            metrics=self.metrics, num_connections=1, score=lambda: candidate_score(self.champions.of(project_id).serving),
            is_urgent=True,
        )  # fmt: skip
        try:
            current = project.tasks([task["id"]])
            stream.run(iter(current.values()), is_over=lambda: False, hand_on=lambda _: None, deadline=deadline)
        except PairloopError as error:
            logger.warning("project %d: task %s is left to the filler: %s", project_id, task["id"], error)


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
