"""The filler: gives unanswered tasks two answers, and open tasks a prediction of the champion.

A task's own data says whether it is answered, its predictions say whether it is scored, so nothing is remembered here:
a crash loses at most the batch in flight, and the next pass finds it again.
Covered: a non-empty answer is never replaced, an annotated task never touched; each is checked just before it is stored.
Not covered: a change within the milliseconds between that check and the store (Label Studio has no conditional PATCH).
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from filelock import FileLock, Timeout

from backend.answering import META_KEY, Draft, draft_answers
from backend.champion import Champions, Serving
from backend.connect import mend_version
from backend.generators import Generator
from backend.metrics import Metrics
from backend.predictions import predict_tasks
from preference.errors import PairloopError, StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.layout import LabelingLayout
from preference.registry import Registry, known_projects
from preference.settings import Settings
from preference.studio import LabelStudioProject, Task, is_annotated

logger = logging.getLogger(__name__)
_STORING_THREADS = 4  # PATCHes a second on two cores: 2.7 from one connection, 4.2 from four, 3.9 from eight
_SCORED_TOGETHER = 100
_REST_SECONDS = 5.0


@dataclass
class _Progress:
    """What the filler knows of a project between passes."""

    next_pass: float = 0.0  # on the monotonic clock, as the next
    last_pass: float = -math.inf
    passed_version: str | None = None  # the champion that the last pass worked with
    said: str = ""  # the last thing that was logged, so that it is not repeated at every pass


class Filler:
    """Fills every project on one MODEL_DIR; among all processes on it, one at a time works."""

    def __init__(
        self,
        settings: Settings,
        champions: Champions,
        generator: Callable[[], Generator],
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`generator` loads the generator; it is called when there is something to answer."""
        self._settings, self._champions, self._metrics = settings, champions, metrics
        self._load_generator, self._clock = generator, clock
        self._generator: Generator | None = None
        self._progress: dict[int, _Progress] = {}

    def run(self, stop: threading.Event) -> None:
        """Works until `stop`, whenever no other process does."""
        lock = FileLock(self._settings.model_dir / "filler.lock")
        while not stop.is_set():
            try:
                with lock.acquire(timeout=0):
                    while not stop.is_set():
                        self.look(stop)
                        stop.wait(0.5)
            except Timeout:
                stop.wait(1)
            except OSError as error:  # MODEL_DIR is away for a moment, or read-only
                logger.warning("the filler waits, MODEL_DIR=%s fails it (%s)", self._settings.model_dir, error)
                stop.wait(self._settings.fill_every_seconds)

    def look(self, stop: threading.Event) -> None:
        """A pass over each project that asked for one, whose timer ran out, or whose champion changed."""
        for registry in known_projects(self._settings.model_dir):
            progress = self._progress.setdefault(registry.project_id, _Progress())
            serving = self._champions.of(registry.project_id).serving
            has_new_champion = serving is not None and serving.version != progress.passed_version
            now = self._clock()
            is_wanted = registry.take_request("fill") or has_new_champion or now >= progress.next_pass
            # Label Studio's /setup comes before every predict: an open label stream must not keep the filler busy.
            is_wanted = is_wanted or (now >= progress.last_pass + _REST_SECONDS and registry.take_request("look"))
            if stop.is_set() or not is_wanted:
                continue
            try:
                self._pass(LabelStudioProject(self._settings, registry.project_id), registry, serving, stop)
            except PairloopError as error:
                self._say(registry.project_id, str(error))
            except Exception:  # a door: this thread must outlive whatever one project does to it
                logger.exception("project %d: the filler failed", registry.project_id)
            # Even after a failure: what is wrong with a project is not cured by asking twice a second.
            progress.passed_version = serving.version if serving else None
            progress.last_pass = self._clock()
            progress.next_pass = progress.last_pass + self._settings.fill_every_seconds

    def _pass(self, project: LabelStudioProject, registry: Registry, serving: Serving | None, stop: threading.Event) -> None:
        layout = LabelingLayout.from_label_config(project.read()["label_config"])
        dropped: Counter[str] = Counter()
        started, num_answered, num_scored = time.monotonic(), 0, 0
        for page in project.unanswered_tasks(layout, page_size=self._settings.batch_prompts):
            if stop.is_set():
                return
            answered = self._answer(project, layout, page, dropped)
            num_answered += len(answered)
            num_scored += self._score(project, layout, answered, serving)
        if serving is not None:
            for page in project.unscored_tasks(serving.version, page_size=_SCORED_TOGETHER):
                if stop.is_set():
                    return
                num_scored += self._score(project, layout, page, serving)
        host = registry.read_host()
        mend_version(project, registry, self._champions.of(registry.project_id).version, host=host)
        if num_answered or num_scored:
            logger.info(
                "project %d: %d tasks answered, %d scored in %.1f s",
                project.id,
                num_answered,
                num_scored,
                time.monotonic() - started,
            )
        left = ", ".join(f"{count} ({reason})" for reason, count in sorted(dropped.items()))
        self._say(project.id, f"tasks left unanswered: {left}" if left else "")

    def _answer(
        self, project: LabelStudioProject, layout: LabelingLayout, page: Sequence[Task], dropped: Counter[str]
    ) -> list[Task]:
        """The tasks of the page that are answered and stored now, as they are now."""
        if not page:
            return []
        if self._generator is None:
            self._generator = self._load_generator()
        drafts = draft_answers(page, layout, self._generator, self._settings, dropped=dropped)
        num_cut = sum("prompt_tokens_cut" in draft.record for draft in drafts)
        if num_cut:
            logger.info("project %d: %d prompts were longer than the window and lost their head", project.id, num_cut)
            self._metrics.prompts_cut.inc(num_cut)
        current = project.tasks([draft.task["id"] for draft in drafts])
        refused: list[int] = []

        def store(draft: Draft) -> Task | None:
            try:
                return self._store(project, layout, draft, current.get(draft.task["id"]))
            except (StudioUnreachable, StudioKeyError):
                raise
            except (StudioError, UnicodeError):  # one task that cannot be stored must not stand before all others
                logger.exception("project %d: the answers of task %d cannot be stored", project.id, draft.task["id"])
                refused.append(draft.task["id"])
                return None

        with ThreadPoolExecutor(_STORING_THREADS) as pool:
            answered = [task for task in pool.map(store, drafts) if task is not None]
        if refused:
            dropped["Label Studio refused the answers"] += len(refused)
        self._metrics.tasks_answered.inc(len(answered))
        return answered

    @staticmethod
    def _store(project: LabelStudioProject, layout: LabelingLayout, draft: Draft, now: Task | None) -> Task | None:
        """The task as it was stored, or None where it changed so much meanwhile that the draft is not for it."""
        if now is None or is_annotated(now) or now["data"].get(layout.prompt_field) != draft.task["data"][layout.prompt_field]:
            return None
        present = dict(zip(layout.answer_fields, layout.answers(now["data"]), strict=True))
        missing = {field: text for field, text in draft.answers.items() if present[field] is None}
        if not missing:
            return None
        task = {**now, "data": {**now["data"], **missing}, "meta": {**(now.get("meta") or {}), META_KEY: draft.record}}
        try:
            project.store_answers(task["id"], data=task["data"], meta=task["meta"])
        except StudioNotFound:  # deleted since
            return None
        return task

    def _score(self, project: LabelStudioProject, layout: LabelingLayout, tasks: Sequence[Task], serving: Serving | None) -> int:
        """How many predictions of the served version were stored."""
        predictions = {
            task["id"]: (task, prediction)
            for task, prediction in zip(tasks, predict_tasks(tasks, layout, serving), strict=True)
            if isinstance(prediction, dict)
        }
        # Scoring takes seconds, and one task that was deleted meanwhile makes Label Studio refuse them all.
        current = project.tasks(list(predictions))
        scored = [
            {"task": task_id, **prediction}
            for task_id, (task, prediction) in predictions.items()
            if task_id in current and current[task_id]["data"] == task["data"] and self._is_open(current[task_id], serving)
        ]
        num_stored = project.store_predictions(scored)
        if num_stored < len(scored):
            logger.warning("project %d: Label Studio kept %d of %d predictions", project.id, num_stored, len(scored))
        self._metrics.predictions_stored.inc(num_stored)
        return num_stored

    @staticmethod
    def _is_open(task: Task, serving: Serving | None) -> bool:
        """Whether nobody judged the task, and /predict has not scored it meanwhile."""
        versions = task.get("predictions_model_versions") or ""
        return not is_annotated(task) and (serving is None or serving.version not in versions)

    def _say(self, project_id: int, message: str) -> None:
        progress = self._progress.setdefault(project_id, _Progress())
        if message and message != progress.said:
            logger.warning("project %d: %s", project_id, message)
        progress.said = message
