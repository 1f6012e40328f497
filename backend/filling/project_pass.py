"""One pass of the filler over one project: answers unanswered tasks, scores open ones, corrects the version that is shown.

Covered, beside what answer_stream.py covers: an annotated task gets no prediction; each task gets one prediction a version;
the version that is shown changes when every open task holds a prediction of the new one, so the score column never empties.
Not covered: a prompt or an answer that is edited after it was scored keeps its prediction until the next version.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from backend.filling.answer_rules import UNSTORED
from backend.filling.answer_stream import AnswerStream
from backend.filling.certified_predictions import CertifiedPredictions
from backend.filling.drafts import DraftPass
from backend.filling.progress import PassResult, Progress
from backend.filling.shown_version import ShownVersion
from backend.filling.workbench import Workbench
from backend.generators.served_generator import served_generator
from backend.new_tasks.new_answers import ask_again
from backend.new_tasks.new_prompts import take_new_prompts
from backend.new_tasks.repeats import ask_for_repeats
from backend.scoring.prediction_store import PredictionStore
from backend.scoring.predictions import LEAST_OTHERS, predict_tasks
from preference.errors import StudioError
from preference.formatting import plural
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import layout_of
from preference.projects.answer_sides import check_sides, latest_with_fields
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields, Task

logger = logging.getLogger("pairloop.filling")
_SCORED_TOGETHER = 100
_LONGEST_REST_SECONDS = 0.5


def open_pass(
    project: LabelStudioProject, folder: ProjectFolder, shown: ShownVersion, bench: Workbench
) -> "ProjectPass | DraftPass":  # fmt: skip
    """The pass that a project's label config asks for, after it was read.

    Raises:
        StudioError, LayoutError: the project cannot be read, or its label config does not fit.
    """
    state = project.read()
    layout = layout_of(state["label_config"])
    if isinstance(layout, DemonstrationLayout):
        return DraftPass(project, folder, shown, bench, layout=layout)
    return ProjectPass(project, state, folder, shown, bench, layout=layout)


class ProjectPass:
    """A project as it was when the pass began. Used once."""

    def __init__(
        self, project: LabelStudioProject, state: ProjectFields, folder: ProjectFolder, shown: ShownVersion, bench: Workbench, *,
        layout: LabelingLayout,
    ) -> None:  # fmt: skip
        """`state`: what `project.read()` gave; `layout`: what its label config says.

        Raises:
            LayoutError: the answers changed places.
        """
        self._project, self._state, self._folder, self._shown, self._bench = project, state, folder, shown, bench
        self._champion = bench.champions.of(project.id)
        bench.champions.compares(project.id)
        self._layout = layout
        check_sides(self._layout, latest_with_fields(Versions(folder)))
        self._stream = AnswerStream(project, self._layout, bench)
        self._progress = Progress(folder, bench.metrics)
        self._predictions, self._marks = (PredictionStore(project, self._layout, bench.metrics) for _ in range(2))
        self._certified = CertifiedPredictions(
            project, folder, self._layout, self._marks,
            serving=self._champion.serving, suggesting=bench.settings.suggesting, shown=shown, now=time.time(),
        )  # fmt: skip
        self._has_read_scores = False  # those that Label Studio holds
        self._was_set = False  # whether this pass had to correct what the project shows

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
                and self._certified.mark_all(should_end)
                and not self._add_tasks()
            )
        finally:
            self._shown.is_sure = not self._was_set and (is_done or self._shown.is_sure)
            self._write_progress(is_last=True)
            problems, of = self._bench.problems, self._project.id
            problems.note(of, "predictions", self._predictions.problem or self._marks.problem)
            problems.note(of, "certificate", self._certified.problem)
            problems.note(of, "generator", served_generator(self._bench.settings, of).problem)
            problems.note(of, "duels", stream.duels.problem)
            if is_done and UNSTORED not in stream.dropped:
                self._bench.problems.note(self._project.id, "answers")
            if stream.num_cut:
                logger.info("project %d: %d prompts were cut to the window at their head", self._project.id, stream.num_cut)
            if stream.num_answers_cut:
                most = self._bench.settings.generator.max_new_tokens
                num_cut = stream.num_answers_cut
                logger.info("project %d: %d answers were cut off, at MAX_NEW_TOKENS=%d", self._project.id, num_cut, most)
            if stream.num_answered or self._predictions.num_stored:
                seconds, counts = time.monotonic() - started, (stream.num_answered, self._predictions.num_stored)
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
        for page in self._unscored(serving.version) if serving else ():
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

    def _unscored(self, version: str) -> Iterator[list[Task]]:
        if self._state["task_number"] or self._stream.num_answered:
            yield from self._project.unscored_tasks(version, layout=self._layout, page_size=_SCORED_TOGETHER)

    def _show_version(self) -> None:
        self._was_set |= self._shown.show(self._project, self._folder, self._champion.version)

    def _score(self, tasks: Sequence[Task]) -> bool:
        """Stores a prediction of the served version for each task that still is as it was read. Returns whether all were kept."""
        serving, suggesting = self._champion.serving, self._bench.settings.suggesting
        if serving is not None and len(serving.scores) < LEAST_OTHERS and not self._has_read_scores:
            self._has_read_scores = True
            serving.scores.extend(self._project.open_scores())  # this process has just started
        predictions = predict_tasks(tasks, self._layout, serving, suggesting=suggesting, least_others=0)
        is_all_kept = self._predictions.store(tasks, predictions)
        self._certified.mark_scored(tasks)
        return is_all_kept

    def _add_tasks(self) -> int:
        """The number of tasks made of what people judged, asked for or wrote; they are to be answered and scored now."""
        read = self._project, self._folder, self._layout
        filling = self._bench.settings.filling
        ways: tuple[tuple[str, str, Callable[[], int]], ...] = (
            ("new answers were asked for", "as new answers were asked for", lambda: ask_again(*read, self._bench.problems)),
            (
                "prompts that annotators wrote wait",
                "of prompts that annotators wrote",
                lambda: take_new_prompts(*read, most_a_person=filling.new_prompts_a_person),
            ),
            (
                "comparisons that are to come back wait",
                "of comparisons that come back to be judged again",
                lambda: ask_for_repeats(*read, state=self._state, share=filling.repeats),
            ),
        )
        num_made = 0
        for problem, reason, make in ways:
            try:
                made = make()
            except StudioError as error:  # all else can be done without it
                if not error.is_of_one_call:
                    raise
                logger.warning("project %d: %s: %s", self._project.id, problem, error)
            else:
                if made:
                    logger.info("project %d: %d new %s %s", self._project.id, made, plural(made, "task"), reason)
                num_made += made
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
