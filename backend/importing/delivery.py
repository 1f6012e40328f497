"""Batches of tasks to Label Studio, each task once, whatever happens on the way.

Covered: what Label Studio took of a batch before it or this process went down is looked for before anything is sent again.
Not covered: a Label Studio that stores a batch more than half a minute after it was sent.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from backend.importing.known_rows import KnownRows
from preference.atomic_files import write_whole, writing
from preference.errors import StudioError, StudioUnreachable
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

logger = logging.getLogger("pairloop.importing")
_MOST_SENDS = 5  # of one batch, to a Label Studio that answers everything else: it may never take that one


class Delivery:
    """Sends one import's batches, and keeps a journal of the one that is under way."""

    def __init__(
        self, project: LabelStudioProject, folder: ProjectFolder, known: KnownRows, *, settle_seconds: float,
        stopping: threading.Event,
    ) -> None:  # fmt: skip
        """`settle_seconds`: how long Label Studio may take to store tasks whose import it did not acknowledge."""
        self.last_id = 0  # of the tasks that are known to be there
        self._project, self._folder, self._known = project, folder, known
        self._settle_seconds, self._stopping = settle_seconds, stopping

    def send(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks with their ids, after Label Studio took all of them.

        Raises:
            StudioError: it refused them, and took none; or it does not answer, and what it took is found by the next import.
        """
        remaining, num_failed = list(tasks), 0
        named: list[Task] = []
        while remaining:
            self._write_journal(remaining)
            try:
                ids = self._project.import_tasks(remaining)
                self.last_id = max([self.last_id, *ids])
                named += [{**task, "id": task_id} for task_id, task in zip(ids, remaining, strict=False)]
                remaining = []
            except StudioUnreachable as error:
                num_failed += 1
                if self._stopping.is_set() or num_failed == _MOST_SENDS:
                    raise
                logger.warning("project %d: %d tasks wait to be imported: %s", self._project.id, len(remaining), error)
                arrived, remaining = self._after_failure(remaining)
                named += arrived
            except StudioError:  # it took none of them
                self._clear_journal()
                raise
        self._clear_journal()
        return named

    def finish_last(self) -> None:
        """Waits for the batch that an import was sending when it was killed: Label Studio may still be storing it."""
        try:
            identities = {int(text, 16) for text in json.loads(self._journal.read_text(encoding="utf-8"))}
        except FileNotFoundError:
            return
        except (ValueError, TypeError):
            identities = set()
        logger.info("project %d: looking for %d tasks that the last import had just sent", self._project.id, len(identities))
        self._wait_for(identities)
        self._clear_journal()

    def _after_failure(self, tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
        """(the tasks that Label Studio took, with their ids; the others), after it had time to store what it was sent."""
        identities = [self._known.identity(task["data"]) for task in tasks]
        ids = self._wait_for(set(identities))
        arrived: list[Task] = [{**task, "id": ids[i]} for task, i in zip(tasks, identities, strict=True) if i in ids]
        return arrived, [task for task, i in zip(tasks, identities, strict=True) if i not in ids]

    def _wait_for(self, identities: set[int]) -> dict[int, int]:
        """The ids of these tasks, as soon as there is one for each, or when the time is up."""
        deadline = time.monotonic() + self._settle_seconds
        while True:
            try:
                later = self._project.all_tasks(above=self.last_id)
                here = {self._known.identity(task["data"]): int(task["id"]) for task in later}
            except StudioUnreachable:
                if self._stopping.is_set():
                    raise
                deadline = time.monotonic() + self._settle_seconds
                continue
            if identities <= here.keys() or time.monotonic() > deadline or self._stopping.wait(self._settle_seconds / 30):
                return {identity: here[identity] for identity in identities & here.keys()}

    # The journal

    @property
    def _journal(self) -> Path:
        return self._folder.path / "importing.json"

    def _write_journal(self, tasks: Sequence[Task]) -> None:
        identities = [f"{self._known.identity(task['data']):x}" for task in tasks]
        with writing(self._folder.path):
            write_whole(self._journal, json.dumps(identities), is_durable=False)

    def _clear_journal(self) -> None:
        with writing(self._folder.path):
            self._journal.unlink(missing_ok=True)
