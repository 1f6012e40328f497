"""One pass of the filler over one project: answers unanswered tasks, scores open ones, corrects the version that is shown.

Covered, beside what answer_stream.py covers: an annotated task gets no prediction; each task gets one prediction a version;
the version that is shown changes when every open task holds a prediction of the new one, so the score column never empties.
Not covered: a prompt or an answer that is edited after it was scored keeps its prediction until the next version.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from backend.filling.answer_rules import UNSTORED
from backend.filling.answer_stream import AnswerStream
from backend.filling.new_answers import ask_again
from backend.filling.progress import Progress
from backend.filling.served_generator import served_generator
from backend.filling.shown_version import ShownVersion
from backend.filling.workbench import Workbench
from backend.scoring.predictions import LEAST_OTHERS, Prediction, predict_tasks, still_wanted
from preference.errors import StudioError
from preference.labelling.label_config import LabelingLayout
from preference.projects.answer_sides import check_sides, latest_with_fields
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields, Task

logger = logging.getLogger("pairloop.filling")
_SCORED_TOGETHER = 100
_LONGEST_REST_SECONDS = 0.5
_MOST_REFUSED = 3  # predictions one after another: it is not about any of them


@dataclass(frozen=True)
class PassResult:
    """What a pass did."""

    is_done: bool  # whether it finished; if not, it was stopped, or the version or the label config changed meanwhile
    dropped: Mapping[str, int]  # tasks that stay as they are, by reason


class ProjectPass:
    """A project as it was when the pass began. Used once."""

    def __init__(
        self, project: LabelStudioProject, state: ProjectFields, folder: ProjectFolder, shown: ShownVersion, bench: Workbench
    ) -> None:
        """`state`: what `project.read()` gave.

        Raises:
            LayoutError: the label config does not fit, or its answers changed places.
        """
        self._project, self._state, self._folder, self._shown, self._bench = project, state, folder, shown, bench
        self._champion = bench.champions.of(project.id)
        self._layout = LabelingLayout.from_label_config(state["label_config"])
        check_sides(self._layout, latest_with_fields(Versions(folder)))
        self._stream = AnswerStream(project, self._layout, bench)
        self._progress = Progress(folder, bench.metrics)
        self._num_scored = 0
        self._num_refused = 0  # predictions one after another that Label Studio refused, each alone
        self._unstored = ""  # why predictions were not kept, the last time
        self._was_set = False  # whether this pass had to correct what the project shows

    @classmethod
    def open(cls, project: LabelStudioProject, folder: ProjectFolder, shown: ShownVersion, bench: Workbench) -> Self:
        """The pass over a project, after it was read.

        Raises:
            StudioError, LayoutError: the project cannot be read, or its label config does not fit.
        """
        return cls(project, project.read(), folder, shown, bench)

    def run(self, should_stop: Callable[[], bool], *, has_new_version: bool) -> PassResult:
        """Answers unanswered tasks, scores open ones, and corrects the version that is shown.

        `has_new_version`: open tasks are scored before others are answered, which may take hours.

        Raises:
            StudioError: nothing can be done for now.
            ModelError: the generator cannot be loaded, or failed.
        """
        started, stream, serving = time.monotonic(), self._stream, self._champion.serving

        def should_end() -> bool:
            return should_stop() or self._champion.serving is not serving

        is_done = False
        try:
            if self._state.get("model_version") not in (UNTRAINED, *Versions(self._folder).all()):
                self._show_version()
            is_done = (
                (not has_new_version or self._score_open(should_end))
                and stream.run(
                    self._unanswered(), should_stop=should_end, on_stored=self._score, on_progress=self._write_progress
                )
                and self._progress.is_all_read
                and self._score_open(should_end)
                and not self._ask_again()
            )
        finally:
            self._shown.is_sure = not self._was_set and (is_done or self._shown.is_sure)
            self._write_progress(is_last=True)
            self._bench.problems.note(self._project.id, "predictions", self._unstored)
            self._bench.problems.note(
                self._project.id, "generator", served_generator(self._bench.settings, self._project.id).problem
            )
            if is_done and UNSTORED not in stream.dropped:
                self._bench.problems.note(self._project.id, "answers")
            if stream.num_cut:
                logger.info("project %d: %d prompts were cut to the window at their head", self._project.id, stream.num_cut)
            if stream.num_answers_cut:
                most = self._bench.settings.generator.max_new_tokens
                num_cut = stream.num_answers_cut
                logger.info("project %d: %d answers were cut off, at MAX_NEW_TOKENS=%d", self._project.id, num_cut, most)
            if stream.num_answered or self._num_scored:
                seconds, counts = time.monotonic() - started, (stream.num_answered, self._num_scored)
                logger.info("project %d: %d tasks answered, %d scored in %.1f s", self._project.id, *counts, seconds)
        return PassResult(is_done, stream.dropped)

    def _unanswered(self) -> Iterator[Task]:
        """Unanswered tasks, page after page, until the label config is another one: a pass may take hours."""
        for page, num_more in self._project.unanswered_tasks(self._layout):
            self._progress.num_unread = num_more + len(page)
            if self._project.read()["label_config"] != self._state["label_config"]:
                return
            for task in page:
                self._progress.num_unread -= 1
                yield task
        self._progress.num_unread = 0

    def _score_open(self, should_end: Callable[[], bool]) -> bool:
        """Scores the open tasks that have no prediction of the served version, then shows that. Returns whether it finished.

        The version is not shown if Label Studio did not keep a prediction; the next pass sends that again.
        """
        serving, is_all_kept = self._champion.serving, True
        for page in self._project.unscored_tasks(serving.version, page_size=_SCORED_TOGETHER) if serving else ():
            started = time.monotonic()
            is_all_kept &= self._score(page)
            if should_end():
                return False
            # As long as that took: with kept features, storing is all the work, and it is people's Label Studio.
            time.sleep(min(_LONGEST_REST_SECONDS, time.monotonic() - started))
        # After the predictions: uncertainty sampling serves tasks that hold one of the version that is shown.
        if is_all_kept:
            self._show_version()
            self._shown.scored = serving.version if serving else None
        return True

    def _show_version(self) -> None:
        self._was_set |= self._shown.show(self._project, self._folder, self._champion.version)

    def _score(self, tasks: Sequence[Task]) -> bool:
        """Stores a prediction of the served version for each task that still is as it was read. Returns whether all were kept."""
        serving, suggesting = self._champion.serving, self._bench.settings.suggesting
        if serving is not None and suggesting.control_percent and len(serving.scores) < LEAST_OTHERS:
            serving.scores.extend(self._project.open_scores())  # this process has just started
        return self._store(tasks, predict_tasks(tasks, self._layout, serving, suggesting=suggesting, least_others=0))

    def _store(self, tasks: Sequence[Task], predictions: Sequence[Prediction | list[Any]]) -> bool:
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
            self._unstored = f"Label Studio kept {num_stored} of {len(wanted)} predictions"
        if num_stored:
            self._num_refused = 0
        self._num_scored += num_stored
        self._bench.metrics.predictions_stored.inc(num_stored)
        return num_stored == len(wanted)

    def _store_halves(self, tasks: Sequence[Task], predictions: Sequence[Prediction | list[Any]], error: StudioError) -> bool:
        middle = len(tasks) // 2
        if middle and self._num_refused < _MOST_REFUSED:
            is_first_kept = self._store(tasks[:middle], predictions[:middle])
            return self._store(tasks[middle:], predictions[middle:]) and is_first_kept
        self._num_refused += 1
        number = f"task {tasks[0]['id']}: its prediction" if len(tasks) == 1 else f"{len(tasks)} predictions"
        self._unstored = self._unstored or f"{number} cannot be stored: {error}"
        return self._num_refused < _MOST_REFUSED

    def _ask_again(self) -> int:
        """The number of tasks made for annotators who want new answers; they are to be answered now."""
        try:
            num_made = ask_again(self._project, self._folder, self._layout, self._bench.problems)
        except StudioError as error:  # all else can be done without it
            if not error.is_of_one_call:
                raise
            logger.warning("project %d: new answers were asked for, but: %s", self._project.id, error)
            return 0
        if num_made:
            logger.info("project %d: new answers were asked for in %d tasks", self._project.id, num_made)
        return num_made

    def _write_progress(self, *, is_last: bool = False) -> None:
        self._progress.write(
            num_answered=self._stream.num_answered,
            num_answers_cut=self._stream.num_answers_cut,
            num_under_way=self._stream.num_under_way,
            dropped=self._stream.dropped,
            tokens_per_second=self._bench.scheduler.tokens_per_second,
            is_last=is_last,
        )
        if self._progress.problem is not None:
            self._bench.problems.note(self._project.id, "progress", self._progress.problem)
