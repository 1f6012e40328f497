"""Rows into a project, answered beforehand: Label Studio imports a hundred times faster than it edits.

Predictions follow each batch in one request, since the ids that it gives the tasks decide who is in the control group. If
that fails, the backend's filler scores the tasks.

Covered: tasks get their ids in the order of the rows; a row that the project holds already is skipped, so a second run continues
one that was killed; one import a project at a time; a task that the filler or /predict scored meanwhile, or a person judged, gets
no prediction here.
Not covered: a filler or a /predict whose prediction is stored between the last look at a batch and the storing of its own, which
gives the task two of them.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Self

from filelock import FileLock, Timeout

from backend.connecting.config_notes import IMPORT_INSTEAD
from backend.filling.answer_rules import AnswerRules, Attempt, Draft
from backend.filling.workbench import Workbench
from backend.generators.duels import Duels
from backend.generators.served_generator import served_generator
from backend.importing.annotators import Annotators
from backend.importing.delivery import Delivery
from backend.importing.held_rows import HeldRows
from backend.importing.known_rows import KnownRows
from backend.scoring.candidate_scores import candidate_scores
from backend.scoring.predictions import predict_tasks, still_wanted
from preference.errors import ModelError, RegistryError, StudioError
from preference.generation.jobs import WrittenAnswers
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import judged_layout_of
from preference.labelling.prompts import transcript
from preference.projects.folder import ProjectFolder
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task, with_entry

logger = logging.getLogger("pairloop.importing")
_TOGETHER = 100  # tasks in one import
_BATCHES_UNDER_WAY = 2.5
_BATCHES_IN_MEMORY = 5  # with those that wait for an earlier row's answers


@dataclass(eq=False)
class _Place:
    """A row's place in the file's order."""

    draft: Draft | None = None  # as soon as the row has its answers


class Import:
    """One import into one project; `counts` holds the tasks `imported`, and why others were not, or have no answers."""

    def __init__(
        self, project: LabelStudioProject, layout: LabelingLayout, folder: ProjectFolder, bench: Workbench, *,
        settle_seconds: float = 30.0, most_seconds: float = 5.0,
    ) -> None:  # fmt: skip
        """`settle_seconds`: how long Label Studio may take to store tasks whose import it did not acknowledge.

        `most_seconds`: how long an answered task waits for others to be imported with.
        """
        self.counts: Counter[str] = Counter()
        self.layout, self.annotators = layout, Annotators(Account(bench.settings.studio))
        self._project, self._folder, self._settings = project, folder, bench.settings
        self._champion, self._scheduler = bench.champions.of(project.id), bench.scheduler
        self._rules = AnswerRules(layout, bench.settings, bench.scheduler.generator)
        self._duels = Duels(project.id, layout, bench.settings, scheduler=bench.scheduler, rival=bench.rival)
        self._known = KnownRows(layout)
        self._held = HeldRows(folder.path, self._known)
        self._delivery = Delivery(
            project, folder, self._known, settle_seconds=settle_seconds, stopping=bench.scheduler.stopping
        )  # fmt: skip
        self._most_seconds = most_seconds
        self._writing: dict[Future[WrittenAnswers], tuple[Attempt, _Place]] = {}
        self._dueling: dict[Future[tuple[WrittenAnswers, WrittenAnswers]], tuple[Task, _Place]] = {}
        self._places: deque[_Place] = deque()  # from the first row on that has no answers yet
        self._drafts: list[Draft] = []  # all before it
        self._sent_at = time.monotonic()

    @classmethod
    def open(
        cls, project: LabelStudioProject, folder: ProjectFolder, bench: Workbench, *, settle_seconds: float = 30.0,
        most_seconds: float = 5.0,
    ) -> Self:  # fmt: skip
        """The import into a project, after its label config was read.

        Raises:
            StudioError, LayoutError: the project cannot be read, or its label config does not fit.
        """
        layout = judged_layout_of(project.read()["label_config"], instead=IMPORT_INSTEAD)
        return cls(project, layout, folder, bench, settle_seconds=settle_seconds, most_seconds=most_seconds)

    def run(self, tasks: Iterable[Task], *, on_progress: Callable[[], None] = lambda: None) -> None:
        """Imports each task, unless it is there; `on_progress` is called now and then.

        Raises:
            StudioError, ModelError: nothing more can be done; what was imported stays, and a second run goes on.
            RegistryError: another import into this project is running, or MODEL_DIR is full or not writable.
        """
        self._folder.create()
        try:
            with FileLock(self._folder.path / "import.lock").acquire(timeout=0):
                self._delivery.finish_last()
                self._held.read(self._project)
                self._delivery.last_id = self._held.last_id
                self._run(iter(tasks), on_progress)
                self._held.write(self._project)
        except Timeout:
            raise RegistryError(
                f"Another import into project {self._project.id} is running; wait for its end, or stop it."
            ) from None

    def _run(self, tasks: Iterator[Task], on_progress: Callable[[], None]) -> None:
        while True:
            while self._has_room():
                if (task := next(tasks, None)) is None:
                    break
                self._begin(task)
            is_due = time.monotonic() > self._sent_at + self._most_seconds
            is_idle = not self._writing and not self._dueling
            if len(self._drafts) >= _TOGETHER or (self._drafts and (is_due or is_idle)):
                self._send()
            on_progress()
            if is_idle and not self._drafts:
                return
            under_way: list[Future[Any]] = [*self._writing, *self._dueling]
            wait(under_way, timeout=self._most_seconds, return_when=FIRST_COMPLETED)
            for written in [future for future in self._writing if future.done()]:
                self._take_answers(*self._writing.pop(written), written.result())
            for both in [future for future in self._dueling if future.done()]:
                self._take_duel(*self._dueling.pop(both), both)

    def _has_room(self) -> bool:
        batch = max(_TOGETHER, self._scheduler.capacity)
        is_busy = len(self._writing) + len(self._dueling) + len(self._drafts) >= _BATCHES_UNDER_WAY * batch
        return not is_busy and len(self._places) + len(self._drafts) < _BATCHES_IN_MEMORY * batch

    def _begin(self, row: Task) -> None:
        data, is_judged = row["data"], bool(row.get("annotations"))
        task: Task = {**row, "key": transcript(self.layout.prompt(data) or "")}
        is_comparison = None not in self.layout.answers(data)
        if self._known.holds(data):
            judged, what = "with its judgements, " if is_judged else "", "comparison" if is_comparison else "prompt"
            self.counts[f"skipped, {judged}the project holds the {what}"] += 1
        elif repeat_of(row) is not None and not is_judged:  # a judged one stays what it is: nothing is trained on it
            self.counts["skipped, a comparison that came back elsewhere, which nobody judged"] += 1
        elif is_judged or is_comparison:  # a judgement is of what was there
            self._known.add(data)
            self._settle(self._queue(), Draft(task, {}, {}))
        elif problem := self._rules.problem(task):
            self.counts[f"skipped, {problem}"] += 1
        else:
            self._known.add(data)
            duel, attempt, place = self._duels.of(task), Attempt(task), self._queue()
            if duel is None:
                self._ask(attempt, place)
            else:
                both = duel.ask(self._rules.prompt(task), seed=self._rules.seed(attempt))
                self._dueling[both] = task, place

    def _ask(self, attempt: Attempt, place: _Place) -> None:
        written = self._scheduler.submit(
            self._rules.prompt(attempt.task),
            seed=self._rules.seed(attempt),
            num_answers=self._rules.num_answers(attempt),
            adapter=served_generator(self._settings, self._project.id).adapter,
        )
        self._writing[written] = attempt, place

    def _take_answers(self, attempt: Attempt, place: _Place, written: WrittenAnswers) -> None:
        outcome = self._rules.next_step(attempt, written, score=candidate_scores(self._champion.serving))
        if isinstance(outcome, Attempt):
            self._ask(outcome, place)
        else:
            self._settle(place, outcome)

    def _take_duel(self, task: Task, place: _Place, both: "Future[tuple[WrittenAnswers, WrittenAnswers]]") -> None:
        draft = None
        try:
            draft = self._rules.duel(task, *both.result())
        except ModelError as error:
            self._duels.give_up(str(error))
            logger.warning("project %d: %s", self._project.id, self._duels.problem)
        if draft is None:
            self._ask(Attempt(task), place)
        else:
            self._settle(place, draft)

    # The file's order

    def _queue(self) -> _Place:
        self._places.append(_Place())
        return self._places[-1]

    def _settle(self, place: _Place, draft: Draft) -> None:
        place.draft = draft
        while self._places and (first := self._places[0].draft) is not None:
            self._places.popleft()
            self._drafts.append(first)

    # To Label Studio

    def _send(self) -> None:
        """Imports the first drafts, and their predictions."""
        drafts, self._drafts = self._drafts[:_TOGETHER], self._drafts[_TOGETHER:]
        self._champion.refresh()
        tasks = [self._finished(draft) for draft in drafts]
        named = self._delivery.send(tasks)
        self._held.made(named)
        self._sent_at = time.monotonic()
        self.counts["imported"] += len(tasks)
        self._score([task for task in named if not task.get("annotations")])
        for draft, task in zip(drafts, tasks, strict=True):
            for name, count in self.annotators.names(task.get("annotations", [])).items():
                self.counts[f"judgements imported, as {name}"] += count
            if draft.num_cut:
                self.counts["with an answer that was cut off (MAX_NEW_TOKENS)"] += 1
            if "refused" in draft.record:
                self.counts[f"unanswered, {draft.record['refused'].partition(':')[0]}"] += 1
            elif None in self.layout.answers(task["data"]):
                self.counts["unanswered, judged without answers"] += 1

    def _finished(self, draft: Draft) -> Task:
        """The task as it is imported."""
        data = self.layout.with_answers(draft.task["data"], draft.answers)
        task: Task = {**draft.task, "data": self.layout.laid_out(data)}
        task.pop("key")
        if annotations := self.annotators.annotations_of(task):
            task["annotations"] = annotations
        if draft.record and (meta := with_entry(task, META_KEY, draft.record)) is not None:
            task["meta"] = meta
        return task

    def _score(self, tasks: Sequence[Task]) -> None:
        """Stores the predictions of tasks that were just imported, unless somebody scored or judged them meanwhile."""
        if not tasks:
            return
        predictions = predict_tasks(tasks, self.layout, self._champion.serving, suggesting=self._settings.suggesting)
        try:
            self._project.store_predictions(still_wanted(tasks, predictions, self._project, layout=self.layout))
        except StudioError as error:
            num_scored = sum(isinstance(prediction, dict) for prediction in predictions)
            logger.warning("project %d: %d tasks will be scored by the filler: %s", self._project.id, num_scored, error)
