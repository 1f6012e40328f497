"""Where a pass stores its predictions: of tasks that still are as they were read, and so that one task holds up no other."""

from collections.abc import Sequence
from typing import Any

from backend.monitoring.metrics import Metrics
from backend.scoring.predictions import Prediction, still_wanted
from preference.errors import StudioError
from preference.labelling.layouts import Layout
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

_MOST_REFUSED = 3  # predictions one after another: it is not about any of them


class PredictionStore:
    """The predictions of one pass over a project."""

    def __init__(self, project: LabelStudioProject, layout: Layout, metrics: Metrics) -> None:
        self.num_stored = 0
        self.problem = ""  # why predictions were not kept, the last time
        self._project, self._layout, self._metrics = project, layout, metrics
        self._num_refused = 0  # predictions one after another that Label Studio refused, each alone

    def store(self, tasks: Sequence[Task], predictions: Sequence[Prediction | list[Any]]) -> bool:
        """Stores these tasks' predictions. Returns whether all that are wanted were kept, but for single ones that are refused.

        What Label Studio refuses, or fails at, is sent again in halves, so that one task holds up no other. The next pass sends
        what is refused again.
        """
        wanted = still_wanted(tasks, predictions, self._project, layout=self._layout)
        try:
            num_stored = self._project.store_predictions(wanted)
        except StudioError as error:
            if not error.is_of_one_call:
                raise
            return self._store_halves(tasks, predictions, error)
        if num_stored < len(wanted):
            self.problem = f"Label Studio kept {num_stored} of {len(wanted)} predictions"
        if num_stored:
            self._num_refused = 0
        self.num_stored += num_stored
        self._metrics.predictions_stored.inc(num_stored)
        return num_stored == len(wanted)

    def _store_halves(self, tasks: Sequence[Task], predictions: Sequence[Prediction | list[Any]], error: StudioError) -> bool:
        middle = len(tasks) // 2
        if middle and self._num_refused < _MOST_REFUSED:
            is_first_kept = self.store(tasks[:middle], predictions[:middle])
            return self.store(tasks[middle:], predictions[middle:]) and is_first_kept
        self._num_refused += 1
        number = f"task {tasks[0]['id']}: its prediction" if len(tasks) == 1 else f"{len(tasks)} predictions"
        self.problem = self.problem or f"{number} cannot be stored: {error}"
        return self._num_refused < _MOST_REFUSED
