"""Prompts into a project, answered beforehand: Label Studio imports a hundred times faster than it edits.

Predictions follow each batch in one request, since the ids that it gives the tasks decide who is in the control group. If
that fails, the backend's filler scores the tasks.

Covered: a prompt that the project holds already is skipped, so a second run continues one that was killed; what
Label Studio took of a batch before it or this process went down is looked for before anything is sent; one import a
project at a time; a task that the filler or /predict scored meanwhile, or a person judged, gets no prediction here.
Not covered: a Label Studio that stores a batch more than half a minute after it was sent; a filler or a /predict whose
prediction is stored between the last look at a batch and the storing of its own, which gives the task two of them.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Self

from filelock import FileLock, Timeout

from backend.filling.answer_rules import META_KEY, AnswerRules, Attempt, Draft
from backend.filling.workbench import Workbench
from backend.generators.jobs import WrittenAnswers
from backend.scoring.candidate_scores import candidate_scores
from backend.scoring.predictions import predict_tasks, still_wanted
from preference.atomic_files import write_whole, writing
from preference.errors import RegistryError, StudioError, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import normalised
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

logger = logging.getLogger("pairloop.importing")
_TOGETHER = 100  # tasks in one import
_BATCHES_UNDER_WAY = 2.5
_MOST_SENDS = 5  # of one batch, to a Label Studio that answers everything else: it may never take that one


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
        self.layout = layout
        self._project, self._folder, self._suggesting = project, folder, bench.settings.suggesting
        self._champion, self._scheduler = bench.champions.of(project.id), bench.scheduler
        self._rules = AnswerRules(layout, bench.settings, bench.scheduler.generator)
        self._known: set[bytes] = set()  # digests of the prompts that the project holds, or soon will
        self._settle_seconds, self._most_seconds = settle_seconds, most_seconds
        self._last_id = 0
        self._writing: dict[Future[WrittenAnswers], Attempt] = {}
        self._drafts: list[Draft] = []
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
        layout = LabelingLayout.from_label_config(project.read()["label_config"])
        return cls(project, layout, folder, bench, settle_seconds=settle_seconds, most_seconds=most_seconds)

    def run(self, rows: Iterable[dict[str, Any]], *, on_progress: Callable[[], None] = lambda: None) -> None:
        """Imports each row, which is a task's data, unless its prompt is there; `on_progress` is called now and then.

        Raises:
            StudioError, ModelError: nothing more can be done; what was imported stays, and a second run goes on.
            RegistryError: another import into this project is running, or MODEL_DIR is full or not writable.
        """
        self._folder.create()
        try:
            with FileLock(self._folder.path / "import.lock").acquire(timeout=0):
                self._finish_last_import()
                self._remember(self._project.all_tasks())
                self._run(iter(rows), on_progress)
        except Timeout:
            raise RegistryError(
                f"Another import into project {self._project.id} is running; wait for its end, or stop it."
            ) from None

    def _run(self, rows: Iterator[dict[str, Any]], on_progress: Callable[[], None]) -> None:
        while True:
            while len(self._writing) + len(self._drafts) < _BATCHES_UNDER_WAY * max(_TOGETHER, self._scheduler.capacity):
                if (row := next(rows, None)) is None:
                    break
                self._begin(row)
            is_due = time.monotonic() > self._sent_at + self._most_seconds
            if len(self._drafts) >= _TOGETHER or (self._drafts and (is_due or not self._writing)):
                self._send()
            on_progress()
            if not self._writing and not self._drafts:
                return
            for written in wait(self._writing, timeout=self._most_seconds, return_when=FIRST_COMPLETED).done:
                self._take_answers(self._writing.pop(written), written.result())

    def _begin(self, row: dict[str, Any]) -> None:
        prompt = self.layout.prompt(row) or ""
        task: Task = {"data": row, "key": prompt}
        if _digest(prompt) in self._known:
            self.counts["skipped, the project holds the prompt"] += 1
        elif problem := self._rules.problem(task):
            self.counts[f"skipped, {problem}"] += 1
        else:
            self._known.add(_digest(prompt))
            if None in self.layout.answers(row):
                self._ask(Attempt(task))
            else:
                self._drafts.append(Draft(task, {}, {}))

    def _ask(self, attempt: Attempt) -> None:
        written = self._scheduler.submit(
            self._rules.prompt(attempt.task), seed=self._rules.seed(attempt), num_answers=self._rules.num_answers
        )
        self._writing[written] = attempt

    def _take_answers(self, attempt: Attempt, written: WrittenAnswers) -> None:
        outcome = self._rules.next_step(attempt, written, score=candidate_scores(self._champion.serving))
        if isinstance(outcome, Attempt):
            self._ask(outcome)
        else:
            self._drafts.append(outcome)

    # To Label Studio

    def _send(self) -> None:
        """Imports the drafts, each once, whatever happens on the way, and their predictions."""
        drafts, self._drafts = self._drafts[:_TOGETHER], self._drafts[_TOGETHER:]
        self._champion.refresh()
        tasks: list[Task] = [{"data": self.layout.with_answers(draft.task["data"], draft.answers)} for draft in drafts]
        for task, draft in zip(tasks, drafts, strict=True):
            if draft.record:
                task["meta"] = {META_KEY: draft.record}
        remaining, num_failed = tasks, 0
        named: list[Task] = []
        while remaining:
            self._write_journal(remaining)
            try:
                ids = self._project.import_tasks(remaining)
                self._last_id = max([self._last_id, *ids])
                named += [{**task, "id": task_id} for task_id, task in zip(ids, remaining, strict=False)]
                remaining = []
            except StudioUnreachable as error:
                num_failed += 1
                if self._scheduler.is_stopped or num_failed == _MOST_SENDS:
                    raise
                logger.warning("project %d: %d tasks wait to be imported: %s", self._project.id, len(remaining), error)
                arrived, remaining = self._after_failed_send(remaining)
                named += arrived
            except StudioError:  # it took none of them
                self._clear_journal()
                raise
        self._clear_journal()
        self._sent_at = time.monotonic()
        self.counts["imported"] += len(tasks)
        self._score(named)
        for draft in drafts:
            if "refused" in draft.record:
                self.counts[f"unanswered, {draft.record['refused'].partition(':')[0]}"] += 1

    def _score(self, tasks: Sequence[Task]) -> None:
        """Stores the predictions of tasks that were just imported, unless somebody scored or judged them meanwhile."""
        predictions = predict_tasks(tasks, self.layout, self._champion.serving, suggesting=self._suggesting)
        try:
            self._project.store_predictions(still_wanted(tasks, predictions, self._project, layout=self.layout))
        except StudioError as error:
            num_scored = sum(isinstance(prediction, dict) for prediction in predictions)
            logger.warning("project %d: %d tasks will be scored by the filler: %s", self._project.id, num_scored, error)

    def _after_failed_send(self, tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
        """(the tasks that Label Studio took, with their ids; the others), after it had time to store what it was sent."""
        digests = [_digest(self.layout.prompt(task["data"]) or "") for task in tasks]
        ids = self._wait_for_tasks(set(digests))
        arrived: list[Task] = [{**task, "id": ids[digest]} for task, digest in zip(tasks, digests, strict=True) if digest in ids]
        return arrived, [task for task, digest in zip(tasks, digests, strict=True) if digest not in ids]

    def _wait_for_tasks(self, digests: set[bytes]) -> dict[bytes, int]:
        """The ids of the tasks that hold these prompts, as soon as there is one for each, or when the time is up."""
        deadline = time.monotonic() + self._settle_seconds
        while True:
            try:
                later = self._project.all_tasks(above=self._last_id)
                here = {_digest(self.layout.prompt(task["data"]) or ""): int(task["id"]) for task in later}
            except StudioUnreachable:
                if self._scheduler.is_stopped:
                    raise
                deadline = time.monotonic() + self._settle_seconds
                continue
            if digests <= here.keys() or time.monotonic() > deadline or self._scheduler.stopping.wait(self._settle_seconds / 30):
                return {digest: here[digest] for digest in digests & here.keys()}

    def _remember(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._known.add(_digest(self.layout.prompt(task["data"]) or ""))
            self._last_id = task["id"]

    # A batch that was sent and not acknowledged

    @property
    def _journal(self) -> Any:
        return self._folder.path / "importing.json"

    def _write_journal(self, tasks: Sequence[Task]) -> None:
        digests = [_digest(self.layout.prompt(task["data"]) or "").hex() for task in tasks]
        with writing(self._folder.path):
            write_whole(self._journal, json.dumps(digests), is_durable=False)

    def _clear_journal(self) -> None:
        with writing(self._folder.path):
            self._journal.unlink(missing_ok=True)

    def _finish_last_import(self) -> None:
        """Waits for the batch that an import was sending when it was killed: Label Studio may still be storing it."""
        try:
            digests = {bytes.fromhex(text) for text in json.loads(self._journal.read_text(encoding="utf-8"))}
        except FileNotFoundError:
            return
        except (ValueError, TypeError):
            digests = set()
        logger.info("project %d: looking for %d tasks that the last import had just sent", self._project.id, len(digests))
        self._wait_for_tasks(digests)
        self._clear_journal()


def _digest(prompt: str) -> bytes:
    """The same for a prompt and its twins."""
    return hashlib.blake2b(normalised(prompt).encode(), digest_size=16).digest()
