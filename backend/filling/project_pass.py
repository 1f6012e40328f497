"""One visit of the filler to one project: answers unanswered tasks, scores open ones, mends the version it shows.

Covered, beside what stream.py covers: an annotated task gets no prediction; each task gets one prediction a version; the
version that is shown changes when every open task holds a prediction of the new one, so the score column never empties.
Not covered: a prompt or an answer that is edited after it was scored keeps its prediction until the next version.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from backend.connecting.connect import mend_version
from backend.filling.answer_rules import AnswerRules, Score
from backend.filling.answer_stream import AnswerStream
from backend.filling.new_answers import ask_again
from backend.filling.progress import Progress
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, ServedVersion
from backend.scoring.predictions import LEAST_OTHERS, predict_tasks, still_wanted
from preference.errors import StudioError, StudioKeyError, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject, Task

logger = logging.getLogger("pairloop.filling")
_SCORED_TOGETHER = 100
_LONGEST_REST_SECONDS = 0.5


class ProjectPass:
    """One project, with what is needed to fill it. `dropped` counts, by reason, the tasks left as they are."""

    def __init__(
        self,
        project: LabelStudioProject,
        folder: ProjectFolder,
        settings: Settings,
        *,
        champion: Champion,
        scheduler: Scheduler,
        metrics: Metrics,
        is_thorough: bool = False,
    ) -> None:
        """`is_thorough`: the backend's row is looked at even where the project shows the right version."""
        self._is_thorough = is_thorough
        self.scored_version: str | None = None  # the version by which every open task was scored in this visit
        self._is_all_kept = True
        self.has_mended = False  # whether the row or the version that the project shows had to be set
        self._project, self._folder, self._settings = project, folder, settings
        self._champion, self._scheduler, self._metrics = champion, scheduler, metrics
        state = project.read()
        self._label_config: str = state["label_config"]
        self._layout = LabelingLayout.from_label_config(self._label_config)
        self._is_outdated = False  # whether the label config was changed since
        self._shown_version = state.get("model_version")
        self._stream = AnswerStream(
            project, self._layout, AnswerRules(self._layout, settings, scheduler.generator), scheduler,
            metrics=metrics, num_connections=settings.filling.storing_connections, score=lambda: candidate_score(champion.serving),
        )  # fmt: skip
        self._progress = Progress(folder, metrics)
        self._num_scored = 0

    @property
    def dropped(self) -> Counter[str]:
        """Tasks left as they are, by reason."""
        return self._stream.dropped

    def run(self, is_over: Callable[[], bool], *, has_new_version: bool) -> bool:
        """Whether everything was seen to; else `is_over` came, or another version or label config came meanwhile.

        `has_new_version`: open tasks are scored before others are answered, which may take hours.

        Raises:
            StudioError: nothing can be done for now.
            ModelError: the generator cannot be loaded, or failed.
        """
        started, stream, serving = time.monotonic(), self._stream, self._champion.serving
        if self._shown_version not in (UNTRAINED, *Versions(self._folder).all()):
            self._show_version()

        def is_left() -> bool:
            return is_over() or self._champion.serving is not serving

        try:
            is_done = not has_new_version or self._score_open(is_left)
            is_done = is_done and stream.run(self._unanswered(), is_over=is_left, hand_on=self._score, moved=self._tell)
            is_done = is_done and not self._is_outdated and self._score_open(is_left)
            is_done = is_done and not self._ask_again()
        finally:
            self._tell(is_last=True)
            if stream.num_cut:
                logger.info("project %d: %d prompts were cut to the window at their head", self._project.id, stream.num_cut)
            if stream.num_answered or self._num_scored:
                seconds, counts = time.monotonic() - started, (stream.num_answered, self._num_scored)
                logger.info("project %d: %d tasks answered, %d scored in %.1f s", self._project.id, *counts, seconds)
        return is_done

    def _ask_again(self) -> int:
        """How many tasks were made that are to be answered now."""
        try:
            num_made = ask_again(self._project, self._folder, self._layout)
        except (StudioUnreachable, StudioKeyError):
            raise
        except StudioError as error:  # all else can be done without it
            logger.warning("project %d: new answers were asked for, but: %s", self._project.id, error)
            return 0
        if num_made:
            logger.info("project %d: new answers were asked for in %d tasks", self._project.id, num_made)
        return num_made

    def _unanswered(self) -> Iterator[Task]:
        for page, num_more in self._project.unanswered_tasks(self._layout):
            if self._project.read()["label_config"] != self._label_config:  # a visit may take hours
                self._is_outdated = True
                return
            for place, task in enumerate(page):
                self._progress.num_unread = num_more + len(page) - place - 1
                yield task
        self._progress.is_all_read = True

    def _score_open(self, is_left: Callable[[], bool]) -> bool:
        """Scores the open tasks that have no prediction of the served version, then shows it; whether all were seen to.

        It is not shown where Label Studio did not keep a prediction, which the next visit offers again.
        """
        serving, self._is_all_kept = self._champion.serving, True
        for page in self._project.unscored_tasks(serving.version, page_size=_SCORED_TOGETHER) if serving else ():
            started = time.monotonic()
            self._score(page)
            if is_left():
                return False
            # As long as that took: with kept features, storing is all the work, and it is people's Label Studio.
            time.sleep(min(_LONGEST_REST_SECONDS, time.monotonic() - started))
        # After the predictions: uncertainty sampling serves tasks that hold one of the version that is shown.
        if self._is_all_kept:
            self._show_version()
            self.scored_version = serving.version if serving else None
        return True

    def _show_version(self) -> None:
        self.has_mended |= mend_version(
            self._project, self._folder, self._champion.version, host=self._folder.read_host(), is_thorough=self._is_thorough
        )

    def _score(self, tasks: Sequence[Task]) -> None:
        """Stores a prediction of the served version for each task that still is as it was read."""
        serving, settings = self._champion.serving, self._settings
        if serving is not None and settings.suggesting.control_percent and len(serving.scores) < LEAST_OTHERS:
            serving.scores.extend(self._project.open_scores())  # this process has just started
        found = predict_tasks(tasks, self._layout, serving, settings=settings, least_others=0)
        scored = still_wanted(tasks, found, self._project, layout=self._layout)
        try:
            num_stored = self._project.store_predictions(scored)
        except (StudioUnreachable, StudioKeyError):
            raise
        except StudioError as error:  # the next visit finds them again
            logger.warning("project %d: %d predictions cannot be stored: %s", self._project.id, len(scored), error)
            self._is_all_kept = False
            return
        if num_stored < len(scored):
            self._is_all_kept = False
            logger.warning("project %d: Label Studio kept %d of %d predictions", self._project.id, num_stored, len(scored))
        self._num_scored += num_stored
        self._metrics.predictions_stored.inc(num_stored)

    def _tell(self, *, is_last: bool = False) -> None:
        stream, scheduler = self._stream, self._scheduler
        self._progress.tell(
            num_answered=stream.num_answered, num_under_way=stream.num_under_way, dropped=stream.dropped,
            tokens_per_second=scheduler.tokens_per_second, is_last=is_last,
        )  # fmt: skip


def candidate_score(serving: ServedVersion | None) -> Score | None:
    """What gives candidate answers their rewards; None without a served model."""
    if serving is None:
        return None
    return lambda prompt, answers: serving.model.score([prompt] * len(answers), answers).tolist()
