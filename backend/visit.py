"""One visit of the filler to one project: answers unanswered tasks, scores open ones, mends the version it shows.

Covered: a non-empty answer is never replaced, an annotated task never touched; each is looked at again just before it is
stored. A task that cannot be answered or stored is counted by reason and stands before no other.
Not covered: a change within the milliseconds between that look and the store (Label Studio has no conditional PATCH); a
prompt or an answer that is edited after it was scored keeps its prediction until the next version.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.answering import META_KEY, Draft, draft_answers
from backend.champion import Champion, Serving
from backend.connect import mend_version
from backend.generators import Generator
from backend.metrics import Metrics
from backend.predictions import predict_tasks
from preference.errors import StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.layout import LabelingLayout
from preference.registry import UNTRAINED, Registry
from preference.settings import Settings
from preference.studio import LabelStudioProject, Task, is_annotated

logger = logging.getLogger(__name__)
_STORING_THREADS = 4  # PATCHes a second on two cores: 2.7 from one connection, 4.2 from four, 3.9 from eight
_SCORED_TOGETHER = 100


class Visit:
    """One project, with what is needed to fill it. `dropped` counts, by reason, the tasks left as they are."""

    def __init__(
        self,
        project: LabelStudioProject,
        registry: Registry,
        settings: Settings,
        *,
        champion: Champion,
        generator: Callable[[], Generator],
        metrics: Metrics,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._project, self._registry, self._settings = project, registry, settings
        self._champion, self._load_generator, self._metrics = champion, generator, metrics
        state = project.read()
        self._layout = LabelingLayout.from_label_config(state["label_config"])
        self._shown_version = state.get("model_version")

    def run(self, is_over: Callable[[], bool]) -> bool:
        """Whether everything was seen to; else it was left at the end of a batch because `is_over`, or a promotion came.

        Raises:
            StudioUnreachable, StudioKeyError: nothing can be done for now.
            ModelError: the generator cannot be loaded, or failed.
        """
        started, num_answered, num_scored = time.monotonic(), 0, 0
        serving, host = self._champion.serving, self._registry.read_host()
        if self._shown_version not in (UNTRAINED, *self._registry.versions()):
            mend_version(self._project, self._registry, self._champion.version, host=host)
        is_left = False
        for page in self._project.unanswered_tasks(self._layout, page_size=self._settings.batch_prompts):
            answered = self._answer(page)
            num_answered += len(answered)
            num_scored += self._score(answered, serving)
            if is_left := is_over() or self._champion.serving is not serving:
                break
        for page in self._project.unscored_tasks(serving.version, page_size=_SCORED_TOGETHER) if serving and not is_left else ():
            num_scored += self._score(page, serving)
            if is_left := is_over() or self._champion.serving is not serving:
                break
        if not is_left:
            # After the predictions: uncertainty sampling serves tasks that hold one of the version that is shown.
            mend_version(self._project, self._registry, self._champion.version, host=host)
        if num_answered or num_scored:
            seconds = time.monotonic() - started
            logger.info("project %d: %d tasks answered, %d scored in %.1f s", self._project.id, num_answered, num_scored, seconds)
        return not is_left

    def _answer(self, page: Sequence[Task]) -> list[Task]:
        """The tasks of the page that are answered and stored now, as they are now."""
        open_tasks = [task for task in page if not is_annotated(task)]
        self._drop("judged or skipped while empty", len(page) - len(open_tasks))
        if not open_tasks:
            return []
        drafts = draft_answers(open_tasks, self._layout, self._load_generator(), self._settings, dropped=self.dropped)
        num_cut = sum("prompt_tokens_cut" in draft.record for draft in drafts)
        if num_cut:
            logger.info("project %d: %d prompts were longer than the window and lost their head", self._project.id, num_cut)
            self._metrics.prompts_cut.inc(num_cut)
        with ThreadPoolExecutor(_STORING_THREADS) as pool:
            stored = list(pool.map(self._store, drafts))
        answered = [task for task in stored if isinstance(task, dict)]
        self._drop("Label Studio refused the answers", stored.count("refused"))
        self._metrics.tasks_answered.inc(len(answered))
        return answered

    def _store(self, draft: Draft) -> Task | str:
        """The task as it was stored; `changed` where the draft is not for it any more, `refused` where it cannot be stored."""
        task_id, fields = draft.task["id"], self._layout.answer_fields
        now = self._project.tasks([task_id]).get(task_id)
        prompt_field = self._layout.prompt_field
        if now is None or is_annotated(now) or now["data"].get(prompt_field) != draft.task["data"][prompt_field]:
            return "changed"
        present = dict(zip(fields, self._layout.answers(now["data"]), strict=True))
        missing = {field: text for field, text in draft.answers.items() if present[field] is None}
        if not missing:
            return "changed"
        task = {**now, "data": {**now["data"], **missing}, "meta": {**(now.get("meta") or {}), META_KEY: draft.record}}
        try:
            self._project.store_answers(task_id, data=task["data"], meta=task["meta"])
        except StudioNotFound:  # deleted since
            return "changed"
        except (StudioUnreachable, StudioKeyError):
            raise
        except (StudioError, UnicodeError) as error:
            logger.warning("project %d: the answers of task %d cannot be stored: %s", self._project.id, task_id, error)
            return "refused"
        return task

    def _score(self, tasks: Sequence[Task], serving: Serving | None) -> int:
        """How many predictions of the served version were stored."""
        predictions = {
            task["id"]: (task, prediction)
            for task, prediction in zip(tasks, predict_tasks(tasks, self._layout, serving), strict=True)
            if isinstance(prediction, dict)
        }
        # Scoring takes seconds, and one task that was deleted meanwhile makes Label Studio refuse them all.
        current = self._project.tasks(list(predictions))
        scored = [
            {"task": task_id, **prediction}
            for task_id, (task, prediction) in predictions.items()
            if task_id in current and current[task_id]["data"] == task["data"] and _is_open(current[task_id], serving)
        ]
        try:
            num_stored = self._project.store_predictions(scored)
        except (StudioUnreachable, StudioKeyError):
            raise
        except StudioError as error:  # the next visit finds them again
            logger.warning("project %d: %d predictions cannot be stored: %s", self._project.id, len(scored), error)
            return 0
        if num_stored < len(scored):
            logger.warning("project %d: Label Studio kept %d of %d predictions", self._project.id, num_stored, len(scored))
        self._metrics.predictions_stored.inc(num_stored)
        return num_stored

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] += count


def _is_open(task: Task, serving: Serving | None) -> bool:
    """Whether nobody judged the task, and /predict has not scored it meanwhile."""
    versions = task.get("predictions_model_versions") or ""
    return not is_annotated(task) and (serving is None or serving.version not in versions)
