"""One pass over a project that collects demonstrations: each open task gets a draft, as a prediction that fills the annotator's box.

A prompt that the model cannot answer gets a prediction that fills nothing, so that it is asked once.
Covered: a task that was judged, edited or deleted meanwhile gets no draft; a task has one draft, whoever makes the pass; a task whose
draft Label Studio refuses keeps no other from its draft.
Not covered: a prompt that is edited after it got its draft keeps that. SUGGEST and CONTROL_PERCENT are about rewards, of which there
are none.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

from backend.filling.answer_rules import answer_seed, unanswerable
from backend.filling.progress import PassResult, Progress
from backend.filling.shown_version import ShownVersion
from backend.filling.workbench import Workbench
from backend.generators.served_generator import served_generator
from backend.scoring.prediction_store import PredictionStore
from backend.scoring.predictions import Prediction
from preference.errors import ModelError
from preference.generation.jobs import CUT, WrittenAnswers
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.layouts import layout_of
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

logger = logging.getLogger("pairloop.filling")
_TOGETHER = 20
_FIRST, _LAST = 0.5, 1.0  # scores: Label Studio serves the lowest first


class DraftPass:
    """A project as it was when the pass began. Used once."""

    def __init__(
        self, project: LabelStudioProject, folder: ProjectFolder, shown: ShownVersion, bench: Workbench, *,
        layout: DemonstrationLayout,
    ) -> None:  # fmt: skip
        """`layout`: what the project's label config says."""
        self._project, self._folder, self._shown, self._bench, self._layout = project, folder, shown, bench, layout
        self._version = bench.champions.of(project.id).version
        self._predictions = PredictionStore(project, layout, bench.metrics)
        self._progress = Progress(folder, bench.metrics)
        self._num_cut = 0
        self._dropped: Counter[str] = Counter()

    def run(self, should_stop: Callable[[], bool], *, has_new_version: bool) -> PassResult:
        """Drafts an answer to each open task without one, and corrects the version that is shown.

        Raises:
            StudioError: nothing can be done for now.
            ModelError: the generator cannot be loaded, or failed.
        """
        started = time.monotonic()
        was_set = self._shown.show(self._project, self._folder, self._version)
        num_open, is_done = self._project.num_open(unscored_by=self._version), False
        try:
            for page in self._project.unscored_tasks(self._version, page_size=_TOGETHER) if num_open else ():
                # A pass may take hours, in which the label config may become another one.
                if should_stop() or layout_of(self._project.read()["label_config"]) != self._layout:
                    break
                self._progress.num_unread = max(0, num_open - self._predictions.num_stored - self._dropped.total())
                self._write_progress()
                self._draft(page)
            else:
                self._progress.num_unread, is_done = 0, True
        finally:
            self._shown.is_sure = not was_set and (is_done or self._shown.is_sure)
            self._write_progress(is_last=True)
            self._bench.problems.note(self._project.id, "predictions", self._predictions.problem)
            if self._predictions.num_stored:
                seconds = time.monotonic() - started
                logger.info("project %d: %d drafts in %.1f s", self._project.id, self._predictions.num_stored, seconds)
        return PassResult(is_done, self._dropped)

    def _draft(self, tasks: Sequence[Task]) -> None:
        """Writes and stores the drafts of tasks that have a prompt."""
        asked, writing = [], []
        for task in tasks:
            if problem := unanswerable(task["data"], self._layout):
                self._dropped[problem] += 1
                continue
            prompt = self._layout.prompt(task["data"]) or ""
            seed = answer_seed(self._bench.settings.seed, task["id"], 0)
            asked.append(task)
            adapter = served_generator(self._bench.settings, self._project.id).adapter
            writing.append(self._bench.scheduler.submit(prompt, seed=seed, num_answers=1, adapter=adapter))
        try:
            predictions = [self._prediction(written.result()) for written in writing]
        except CancelledError:
            raise ModelError("The backend stops; the next start goes on.") from None
        self._predictions.store(asked, predictions)

    def _prediction(self, written: WrittenAnswers) -> Prediction:
        answer = next((answer for answer in written.each if answer.text.strip()), None)
        if answer is None:
            self._dropped[(written.refused or "the model wrote nothing").partition(":")[0][:80]] += 1
            return {"result": [], "score": _LAST, "model_version": self._version}
        self._num_cut += answer.finish_reason in CUT
        return {"result": self._layout.draft(answer.text), "score": _FIRST, "model_version": self._version}

    def _write_progress(self, *, is_last: bool = False) -> None:
        self._progress.write(
            num_answered=self._predictions.num_stored, num_answers_cut=self._num_cut, num_under_way=0, dropped=+self._dropped,
            tokens_per_second=self._bench.scheduler.tokens_per_second, is_last=is_last,
        )  # fmt: skip
        if self._progress.problem is not None:
            self._bench.problems.note(self._project.id, "progress", self._progress.problem)
