"""Unanswered tasks on their way through a backend: answered, read again, stored, passed on to be scored.

All this happens at once: while some answers are written, others are stored. The number of tasks under way is bounded. So
memory does not grow with the project, and a crash loses no more than these; the next pass lists them as unanswered again.

Covered: a non-empty answer is never replaced, an annotated task never touched; each task is read again just before it is
stored. While Label Studio is away, written answers wait, but not beyond their project's turn. A task that cannot be answered,
or whose answers Label Studio does not take while it takes a mark, is marked, counted and named.
Not covered: a change between that reading and the store. It may take a few seconds if storing is slow, and Label Studio has
no conditional PATCH.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from backend.filling.answer_rules import UNSTORED, AnswerRules, Attempt, Draft
from backend.filling.store_tries import StoreTries
from backend.filling.workbench import Workbench
from backend.generators.duels import Duel, Duels
from backend.generators.served_generator import served_generator
from backend.scoring.candidate_scores import candidate_scores
from preference.errors import ModelError, StudioError, StudioFailing, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task, is_annotated, with_entry
from preference.studio.waiting import Waiting

logger = logging.getLogger("pairloop.filling")
_BATCHES_UNDER_WAY = 2.5  # of the generator: what it writes, what follows, and what is being stored
_READ_TOGETHER = 8  # tasks for each connection: reading them costs Label Studio as much as two PATCHes
_PASSED_ON_TOGETHER = 100  # tasks; as many may wait meanwhile
_WAIT_SECONDS = 5.0  # then a Label Studio that is away is tried again


class AnswerStream:
    """Answers tasks of one project. Used once, by one thread."""

    def __init__(
        self, project: LabelStudioProject, layout: LabelingLayout, bench: Workbench, *, is_urgent: bool = False,
        rest_seconds: float = 10.0,
    ) -> None:  # fmt: skip
        """`is_urgent`: somebody waits before a screen, so these tasks are answered before all others.

        `rest_seconds`: how long tasks wait for others at most, to be read and stored, or passed on, together.
        """
        self.dropped: Counter[str] = Counter()  # tasks that stay as they are, by reason
        self.num_answered = self.num_cut = 0
        self.num_answers_cut = 0  # of those that were stored
        self._project, self._layout, self._bench, self._is_urgent = project, layout, bench, is_urgent
        self._champion = bench.champions.of(project.id)
        self._rules = AnswerRules(layout, bench.settings, bench.scheduler.generator)
        self.duels = Duels(project.id, layout, bench.settings, scheduler=bench.scheduler, rival=bench.rival)
        self._num_connections = 1 if is_urgent else bench.settings.filling.storing_connections  # PATCHes at once
        self._events: SimpleQueue[tuple[Callable[..., None], Any, Future[Any]]] = SimpleQueue()
        self._num_writing = self._num_storing = self._num_passed_on = self._num_pauses = 0
        self._drafts: Waiting[Draft] = Waiting(rest_seconds=rest_seconds)
        self._tries = StoreTries(self._rules)
        self._stores_nothing = False  # what is written from now on is given up
        self._should_stop: Callable[[], bool] = lambda: False
        self._stored: Waiting[Task] = Waiting(rest_seconds=rest_seconds)
        self._error: Exception | None = None

    @property
    def num_under_way(self) -> int:
        """Tasks that were begun and are neither stored nor dropped."""
        return self._num_writing + len(self._drafts) + self._num_storing

    @property
    def _num_to_pass_on(self) -> int:
        return len(self._stored) + self._num_passed_on

    def run(
        self,
        tasks: Iterator[Task],
        *,
        should_stop: Callable[[], bool],
        on_stored: Callable[[list[Task]], object] = lambda tasks: None,
        on_progress: Callable[[], None] = lambda: None,
        deadline: float | None = None,
    ) -> bool:
        """Whether every task was answered or dropped. After `should_stop` says yes, no further task is begun.

        `on_stored` gets stored tasks as they are now, some at a time, in a thread of its own; `on_progress` is called after
        every event. At the `deadline` (of time.monotonic) tasks under way are abandoned.

        Raises:
            StudioError, ModelError: nothing more can be done for now; what was written is stored if it can be.
        """
        self._should_stop = should_stop
        stores = ThreadPoolExecutor(self._num_connections, "storing")
        passing_on = ThreadPoolExecutor(1, "passing-on")
        is_stopped = False
        try:
            while True:
                while self._has_room() and self._error is None and not is_stopped:
                    if is_stopped := should_stop():
                        break
                    if (task := self._next(tasks)) is None:
                        break
                    self._begin(task)
                self._advance(stores, passing_on, on_stored)
                on_progress()
                if not self.num_under_way and not self._num_to_pass_on:
                    break
                if not self._wait(deadline):
                    return False
        finally:
            stores.shutdown(wait=deadline is None, cancel_futures=True)
            passing_on.shutdown(wait=deadline is None, cancel_futures=True)
        if self._error is not None:
            raise self._error
        return not is_stopped

    def _has_room(self) -> bool:
        most = _BATCHES_UNDER_WAY * self._bench.scheduler.capacity
        return self.num_under_way < most and self._num_to_pass_on < 2 * _PASSED_ON_TOGETHER

    def _wait(self, deadline: float | None) -> bool:
        """Handles the next event, or lets a rest pass. Returns False at the deadline."""
        remaining = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        seconds = min(remaining, self._drafts.seconds_left, self._stored.seconds_left)
        try:
            handle, subject, future = self._events.get(timeout=seconds if math.isfinite(seconds) else None)
        except Empty:
            return seconds < remaining
        handle(subject, future)
        return True

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
            self._drop("judged or skipped while empty", task)
        elif problem := self._rules.problem(task, remembered=self._bench.refusals.get((self._project.id, task["id"]))):
            self._drop(problem, task)
        elif not self._is_urgent and (duel := self.duels.of(task)) is not None:
            self._ask_both(task, duel)
        else:
            self._ask(Attempt(task))

    def _ask(self, attempt: Attempt) -> None:
        self._num_writing += 1
        written = self._bench.scheduler.submit(
            self._rules.prompt(attempt.task),
            seed=self._rules.seed(attempt),
            num_answers=self._rules.num_answers(attempt),
            is_urgent=self._is_urgent,
            adapter=served_generator(self._bench.settings, self._project.id).adapter,
        )
        self._when_done(written, self._on_written, attempt)

    def _ask_both(self, task: Task, duel: Duel) -> None:
        self._num_writing += 1
        written = duel.ask(self._rules.prompt(task), seed=self._rules.seed(Attempt(task)))
        self._when_done(written, self._on_both_written, task)

    def _advance(
        self, stores: ThreadPoolExecutor, passing_on: ThreadPoolExecutor, on_stored: Callable[[list[Task]], object]
    ) -> None:
        """Sends drafts to be stored, and passes stored tasks on."""
        if self._stores_nothing:
            self._drafts.clear()
        most = min(_READ_TOGETHER * self._num_connections, self._bench.scheduler.capacity)
        while self._num_storing < self._num_connections and (drafts := self._drafts.take(most, is_last=not self._num_writing)):
            for draft in self._still_wanted(drafts):
                self._num_storing += 1
                self._when_done(stores.submit(self._store, draft), self._on_stored, (draft, self._num_pauses))
        if not self._num_passed_on and (tasks := self._stored.take(_PASSED_ON_TOGETHER, is_last=not self.num_under_way)):
            self._num_passed_on = len(tasks)
            self._when_done(passing_on.submit(on_stored, tasks), self._on_passed_on, len(tasks))

    def _still_wanted(self, drafts: list[Draft]) -> list[Draft]:
        """The drafts that are still wanted, for their tasks as they are now."""
        try:
            current = self._project.tasks([draft.task["id"] for draft in drafts])
        except StudioUnreachable as error:
            if isinstance(error, StudioFailing):  # for as long as the project's patience
                self._give_all_up(error)
                return []
            logger.warning("project %d: %d answered tasks wait to be stored: %s", self._project.id, len(drafts), error)
            self._drafts.put_back(drafts)
            self._pause(error)
            return []
        except StudioError as error:
            self._give_all_up(error)
            return []
        here = [(draft, current[draft.task["id"]]) for draft in drafts if draft.task["id"] in current]
        fitted = [self._rules.fitted(draft, now) for draft, now in here if not is_annotated(now)]
        return [draft for draft in fitted if draft is not None]

    def _store(self, draft: Draft) -> Task:
        """The task as it was stored."""
        now = draft.task
        data = self._layout.laid_out(self._layout.with_answers(now["data"], draft.answers))
        meta = with_entry(now, META_KEY, draft.record)
        if meta is not None or draft.answers:
            self._project.store_answers(now["id"], data=data if draft.answers else None, meta=meta)
        return {**now, "data": data, "meta": now.get("meta") if meta is None else meta}

    # What follows an event, all in the thread of `run`

    def _on_written(self, attempt: Attempt, written: "Future[Any]") -> None:
        self._num_writing -= 1
        try:
            outcome = self._rules.next_step(attempt, written.result(), score=candidate_scores(self._champion.serving))
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
                    self._bench.metrics.prompts_cut.inc()

    def _on_both_written(self, task: Task, written: "Future[Any]") -> None:
        self._num_writing -= 1
        draft = None
        try:
            draft = self._rules.duel(task, *written.result())
        except CancelledError:
            self._error = self._error or ModelError("The backend stops; the next start goes on.")
            return
        except ModelError as error:
            self.duels.give_up(str(error))
        if draft is None:
            self._ask(Attempt(task))
        else:
            self._drafts.append(draft)

    def _on_stored(self, sent: tuple[Draft, int], stored: "Future[Task]") -> None:
        self._num_storing -= 1
        draft, num_pauses = sent
        try:
            task = stored.result()
        except StudioNotFound:  # deleted since
            pass
        except StudioUnreachable as error:
            if self._is_urgent or self._bench.scheduler.is_stopped:
                self._error = self._error or error
            else:
                self._go_on(draft, self._tries.after_failure(draft, error), error)
            is_away = not isinstance(error, StudioFailing)
            if is_away and num_pauses == self._num_pauses:  # one pause for all that were sent together
                self._pause(error)
        except StudioKeyError as error:
            self._error = self._error or error
        except StudioError as error:
            self._go_on(draft, self._tries.after_refusal(draft, error), error)
        else:
            last_try = self._tries.after_store(draft)
            if draft.answers:
                self.num_answered += 1
                self.num_answers_cut += draft.num_cut
                self._bench.metrics.tasks_answered.inc()
                self._bench.metrics.answers_cut.inc(draft.num_cut)
                self._stored.append(task)
            elif last_try is not None:
                self._drafts.append(last_try)
            else:
                if with_entry(task, META_KEY, draft.record) is None:  # nothing in the task says so
                    self._bench.refusals.remember((self._project.id, task["id"]), draft.record)
                self._drop(draft.record["refused"], task)

    def _go_on(self, draft: Draft, following: Draft | None, error: StudioError) -> None:
        """Stores what is to follow a draft that was not stored; if nothing is, its task stays as it is."""
        if following is not None:
            self._drafts.append(following)
            return
        self._drop(f"{UNSTORED}: {error}", draft.task)
        if self._tries.are_hopeless:
            self._give_all_up(error)

    def _on_passed_on(self, count: int, done: "Future[object]") -> None:
        self._num_passed_on -= count
        try:
            done.result()
        except StudioError as error:
            self._error = self._error or error

    def _pause(self, error: StudioUnreachable) -> None:
        """Waits for Label Studio. If somebody waits for us, another project or the process's end, the remaining drafts are given up."""
        self._num_pauses += 1
        if self._bench.scheduler.is_stopped or self._is_urgent or self._should_stop():
            self._give_all_up(error)
        else:
            self._bench.scheduler.stopping.wait(_WAIT_SECONDS)

    def _give_all_up(self, error: StudioError) -> None:
        self._error, self._stores_nothing = self._error or error, True
        self._drafts.clear()

    def _when_done(self, future: "Future[Any]", handle: Callable[..., None], subject: Any) -> None:
        future.add_done_callback(lambda done: self._events.put((handle, subject, done)))

    def _drop(self, reason: str, task: Task) -> None:
        if reason.startswith(UNSTORED) and UNSTORED not in self.dropped:  # the first one is named, the others are counted
            self._bench.problems.note(self._project.id, "answers", f"task {task['id']}: {reason}")
        reason = reason.partition(":")[0][:80]  # without a server's own words, which a metric must not be full of
        self.dropped[reason] += 1
