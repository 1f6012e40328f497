"""What /predict answers: tasks are scored, and one that is opened without answers is answered first of all."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from backend.filling.answer_stream import AnswerStream
from backend.filling.filler import Filler
from backend.filling.workbench import Workbench
from backend.scoring.predictions import Prediction, predict_tasks, prediction_bytes
from backend.serving.seats import MOST_TASKS, Seats
from preference.errors import ModelError, PairloopError, RegistryError
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import layout_of
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.serving")
Results = list[Prediction | list[Any]]


@dataclass(frozen=True)
class _Request:
    """A /predict of some tasks of one project."""

    project_id: int
    layout: LabelingLayout
    tasks: Sequence[Mapping[str, Any]]
    deadline: float  # of time.monotonic


class Predictor:
    """Answers /predict. Safe for any number of threads."""

    def __init__(self, bench: Workbench, filler: Filler, stop: threading.Event) -> None:
        """After `stop` nothing more is computed."""
        self.seats = Seats(bench.settings.server.threads)
        self._bench, self._filler, self._stop = bench, filler, stop
        self._log_once = LogOnce()

    def predict(
        self, project_id: int, label_config: str, tasks: Sequence[Mapping[str, Any]], make_room: Callable[[int], object]
    ) -> Results:
        """One entry a task, in order, within PREDICT_SECONDS: its prediction, or `[]` if that is not ready, which the filler adds.

        A task without answers gets `[]`, because Label Studio's label stream would show empty boxes beside a suggestion. If
        it is opened alone, it is answered within the request, so that its page shows the answers. A request without a seat
        gets only the predictions of answers that some process has read before, which takes no backbone.

        `make_room` is asked for the bytes that the predictions may take, before there are any; what it raises is raised.

        Raises:
            LayoutError: the label config does not fit.
        """
        settings, champion = self._bench.settings, self._bench.champions.of(project_id)
        layout = layout_of(label_config)
        if isinstance(layout, DemonstrationLayout):  # a draft is written by the filler, and stored
            return [[] for _ in tasks]
        self._bench.champions.compares(project_id)
        request = _Request(project_id, layout, tasks, time.monotonic() + settings.server.predict_seconds)
        num_unanswered = sum(None in layout.answers(task["data"]) for task in tasks)
        if champion.serving is not None:
            each = partial(prediction_bytes, layout, champion.serving.version, suggesting=settings.suggesting)
            is_list = layout.ranker is not None
            make_room(sum(each(task_data=task["data"]) for task in tasks) if is_list else each() * (len(tasks) - num_unanswered))
        if num_unanswered:
            with suppress(RegistryError):  # MODEL_DIR cannot be written: the filler's timer will do
                ProjectFolder(settings.model_dir, project_id).request("fill")
        results: Results = [[] for _ in tasks]
        with self.seats.take(len(tasks)) as turn:
            if turn is not None:
                self._score(request, results, only_known=turn == "read")
            if champion.serving is not None:
                self._bench.metrics.tasks_put_off.inc(sum(not result for result in results) - num_unanswered)
            if turn == "compute" and num_unanswered and len(tasks) == 1:
                self._answer_now(request)
        return results

    def _score(self, request: _Request, results: Results, *, only_known: bool) -> None:
        serving, tasks = self._bench.champions.of(request.project_id).serving, request.tasks
        for start in range(0, len(tasks), MOST_TASKS):
            num_remaining = len(tasks) - start
            if time.monotonic() > request.deadline or self._stop.is_set():
                logger.info("project %d: %d tasks of one request wait for the filler", request.project_id, num_remaining)
                return
            try:
                results[start : start + MOST_TASKS] = predict_tasks(
                    tasks[start : start + MOST_TASKS],
                    request.layout,
                    serving,
                    suggesting=self._bench.settings.suggesting,
                    only_known=only_known,
                )
            except ModelError as error:  # out of memory, say; the page opens without a suggestion
                logger.warning("project %d: %d tasks of a request cannot be scored: %s", request.project_id, num_remaining, error)
                return

    def _answer_now(self, request: _Request) -> None:
        """Answers and stores the one task that somebody has opened, if this process is the one that has the generator."""
        (task,) = request.tasks
        if not self._filler.is_chosen or not task.get("id"):
            return
        project = LabelStudioProject.for_request(self._bench.settings.studio, request.project_id, stop=self._stop)
        stream = AnswerStream(project, request.layout, self._bench, is_urgent=True)
        try:
            current = project.tasks([task["id"]])
            stream.run(iter(current.values()), should_stop=lambda: False, deadline=request.deadline)
            self._log_once.forget(request.project_id)
        except PairloopError as error:
            if self._log_once.is_news(request.project_id, str(error)):  # and not for each task that somebody opens
                logger.warning("project %d: task %s waits for the filler: %s", request.project_id, task["id"], error)
