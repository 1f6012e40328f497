"""Unanswered tasks on their way through a backend: written, looked at again, stored, handed on.

All happens at once: while some are written, others are stored. No more than a bounded number is under way, so memory
does not grow with the project, and a crash loses no more than these; the next pass finds them unanswered again.

Covered: a non-empty answer is never replaced, an annotated task never touched; each task is looked at again just before
it is stored. While Label Studio is away, what is written waits. A task that cannot be answered is marked, and counted.
Not covered: a change between that look and the store, a few seconds where storing is what takes longest (Label Studio has no conditional PATCH).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from backend.filling.answer_rules import META_KEY, AnswerRules, Attempt, Draft, Score
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.errors import ModelError, StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject, Task, is_annotated

logger = logging.getLogger("pairloop.filling")
_BATCHES_UNDER_WAY = 2.5  # of the generator: what it writes, what follows, and what is being stored
_LOOKED_AT_TOGETHER = 4  # tasks for each connection: one look costs Label Studio as much as one PATCH
_WAIT_SECONDS = 5.0  # between looks for a Label Studio that is away


class AnswerStream:
    """Answers tasks of one project. Used once, by one thread."""

    def __init__(
        self,
        project: LabelStudioProject,
        layout: LabelingLayout,
        answering: AnswerRules,
        scheduler: Scheduler,
        *,
        metrics: Metrics,
        num_connections: int,
        score: Callable[[], Score | None] = lambda: None,
        is_urgent: bool = False,
    ) -> None:
        """`num_connections`: PATCHes at once. `score` gives the served model's, for strategies that go by rewards."""
        self.dropped: Counter[str] = Counter()  # tasks that were left as they are, by reason
        self.num_answered = self.num_cut = 0
        self._project, self._layout, self._answering, self._scheduler = project, layout, answering, scheduler
        self._metrics, self._num_connections, self._score, self._is_urgent = metrics, num_connections, score, is_urgent
        self._events: SimpleQueue[tuple[Callable[..., None], Any, Future[Any]]] = SimpleQueue()
        self._num_writing = self._num_storing = self._num_handed = self._num_pauses = 0
        self._drafts: list[Draft] = []
        self._stored: list[Task] = []
        self._error: Exception | None = None

    @property
    def num_under_way(self) -> int:
        """Tasks that were begun and are neither done nor dropped."""
        return self._num_writing + len(self._drafts) + self._num_storing + len(self._stored) + self._num_handed

    def run(
        self,
        tasks: Iterator[Task],
        *,
        is_over: Callable[[], bool],
        hand_on: Callable[[list[Task]], None],
        moved: Callable[[], None] = lambda: None,
        deadline: float | None = None,
    ) -> bool:
        """Whether every task was seen to; else `is_over` came, and what had been begun was ended.

        `hand_on` gets stored tasks as they are now, some at a time, in a thread of its own; `moved` is called after
        every event. At the `deadline` (of time.monotonic) what is under way is left to others.

        Raises:
            StudioError, ModelError: nothing more can be done for now; what was written is stored where it can be.
        """
        stores = ThreadPoolExecutor(self._num_connections, "storing")
        hands = ThreadPoolExecutor(1, "handing-on")
        is_left = False
        try:
            while True:
                while self.num_under_way < _BATCHES_UNDER_WAY * self._scheduler.capacity and self._error is None and not is_left:
                    if is_left := is_over():
                        break
                    if (task := self._next(tasks)) is None:
                        break
                    self._begin(task)
                self._move(stores, hands, hand_on)
                moved()
                if not self.num_under_way:
                    break
                try:
                    remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
                    handle, subject, future = self._events.get(timeout=remaining)
                except Empty:
                    return False
                handle(subject, future)
        finally:
            stores.shutdown(wait=deadline is None, cancel_futures=True)
            hands.shutdown(wait=deadline is None, cancel_futures=True)
        if self._error is not None:
            raise self._error
        return not is_left

    def _next(self, tasks: Iterator[Task]) -> Task | None:
        try:
            return next(tasks, None)
        except StudioError as error:  # what was written is stored all the same
            self._error = error
            return None

    def _begin(self, task: Task) -> None:
        if None not in self._layout.answers(task["data"]):
            return  # somebody answered it since it was listed
        if is_annotated(task):
            self._drop("judged or skipped while empty")
        elif problem := self._answering.problem(task):
            self._drop(problem)
        else:
            self._ask(Attempt(task))

    def _ask(self, attempt: Attempt) -> None:
        self._num_writing += 1
        written = self._scheduler.submit(
            self._answering.prompt(attempt.task),
            seed=self._answering.seed(attempt),
            num_answers=self._answering.num_answers,
            is_urgent=self._is_urgent,
        )
        self._when_done(written, self._on_written, attempt)

    def _move(self, stores: ThreadPoolExecutor, hands: ThreadPoolExecutor, hand_on: Callable[[list[Task]], None]) -> None:
        """Lets what is ready go on: drafts to be stored, stored tasks to be handed on."""
        is_idle = self._num_storing == 0
        while self._drafts and self._num_storing < self._num_connections and (
            is_idle or len(self._drafts) >= self._num_connections or not self._num_writing
        ):  # fmt: skip
            count = _LOOKED_AT_TOGETHER * self._num_connections
            drafts, self._drafts = self._drafts[:count], self._drafts[count:]
            for draft in self._looked_at(drafts):
                self._num_storing += 1
                self._when_done(stores.submit(self._store, draft), self._on_stored, (draft, self._num_pauses))
            is_idle = False
        if self._stored and not self._num_handed:
            tasks, self._stored = self._stored, []
            self._num_handed = len(tasks)
            self._when_done(hands.submit(hand_on, tasks), self._on_handed, len(tasks))

    def _looked_at(self, drafts: list[Draft]) -> list[Draft]:
        """The drafts that are still wanted, for their tasks as they are now."""
        try:
            current = self._project.tasks([draft.task["id"] for draft in drafts])
        except StudioUnreachable as error:
            logger.warning("project %d: %d answered tasks wait to be stored: %s", self._project.id, len(drafts), error)
            self._drafts = drafts + self._drafts
            self._pause(error)
            return []
        except StudioError as error:
            self._error = error
            return []
        here = [(draft, current[draft.task["id"]]) for draft in drafts if draft.task["id"] in current]
        fitted = [self._answering.fitted(draft, now) for draft, now in here if not is_annotated(now)]
        return [draft for draft in fitted if draft is not None]

    def _store(self, draft: Draft) -> Task:
        """The task as it was stored."""
        now = draft.task
        task = {**now, "data": {**now["data"], **draft.answers}, "meta": {**(now.get("meta") or {}), META_KEY: draft.record}}
        self._project.store_answers(task["id"], data=task["data"], meta=task["meta"])
        return task

    # What happened, told in this thread

    def _on_written(self, attempt: Attempt, written: "Future[Any]") -> None:
        self._num_writing -= 1
        try:
            outcome = self._answering.judge(attempt, written.result(), score=self._score())
        except CancelledError:
            self._error = self._error or ModelError("The backend stops; the next start goes on.")
        except ModelError as error:
            self._error = self._error or error
        else:
            if isinstance(outcome, Attempt):
                self._ask(outcome)
            else:
                self._drafts.append(outcome)
                if "prompt_tokens_cut" in outcome.record:
                    self.num_cut += 1
                    self._metrics.prompts_cut.inc()

    def _on_stored(self, sent: tuple[Draft, int], stored: "Future[Task]") -> None:
        self._num_storing -= 1
        draft, num_pauses = sent
        try:
            task = stored.result()
        except StudioNotFound:  # deleted since
            pass
        except StudioUnreachable as error:
            self._drafts.append(draft)  # looked at again, and stored when Label Studio is back
            if num_pauses == self._num_pauses:  # one pause for all that were sent together
                self._pause(error)
        except StudioKeyError as error:
            self._error = self._error or error
        except (StudioError, UnicodeError) as error:
            logger.warning("project %d: task %d cannot be stored: %s", self._project.id, draft.task["id"], error)
            self._drop("Label Studio refused the answers")
        else:
            if draft.answers:
                self.num_answered += 1
                self._metrics.tasks_answered.inc()
                self._stored.append(task)
            else:
                self._drop(draft.record["refused"])

    def _on_handed(self, count: int, handed: "Future[None]") -> None:
        self._num_handed -= count
        try:
            handed.result()
        except StudioError as error:
            self._error = self._error or error

    def _pause(self, error: StudioUnreachable) -> None:
        """Waits for Label Studio, unless the process ends, or somebody waits for us: then what is left is left to others."""
        self._num_pauses += 1
        if self._scheduler.is_stopped or self._is_urgent:
            self._error, self._drafts = self._error or error, []
        else:
            self._scheduler.stopping.wait(_WAIT_SECONDS)

    def _when_done(self, future: "Future[Any]", handle: Callable[..., None], subject: Any) -> None:
        future.add_done_callback(lambda done: self._events.put((handle, subject, done)))

    def _drop(self, reason: str) -> None:
        reason = reason.partition(":")[0][:80]  # without a server's own words, which a metric must not be full of
        self.dropped[reason] += 1
