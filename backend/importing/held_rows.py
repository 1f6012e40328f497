"""What a project held when the last import ended, so that the next one lists only what changed since.

    held_rows.safetensors   for each task its id and the rows that it is; until when that holds, by Label Studio's clock

Label Studio takes .65 ms of CPU time to list a task, whatever is asked of it: more than everything else that becomes of a known row.
Covered: tasks that were made, edited or deleted since, by whomever; an import that was killed, after which the next one lists from the
same moment; another label config, an earlier form of the file, a damaged one, after which all tasks are listed.
Not covered: the data of a task that somebody changes while the import that made it is still running, or in the moment when it ends.
"""

from array import array
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from backend.importing.known_rows import KnownRows
from preference.atomic_files import write_whole
from preference.errors import StudioError
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

_LATER_COMMITS = timedelta(seconds=60)  # a task may be stored after one whose time is later
_SAME_MOMENT = timedelta(seconds=1)  # of tasks that the last import made: their number tells if one is missing
_WIDTH = 4  # rows that a task can be


class HeldRows:
    """The rows that the tasks of one project are, kept in a file of its folder."""

    def __init__(self, folder: Path, known: KnownRows) -> None:
        self._path, self._known = folder / "held_rows.safetensors", known
        self._rows = np.empty((0, 1 + _WIDTH), dtype=np.uint64)  # (num_tasks, id and rows), by id
        self._until: datetime | None = None
        self._settled = 0  # the last id before those that the last import made
        self._made = array("Q")

    @property
    def last_id(self) -> int:
        """The highest id among them; 0 if there are none."""
        return int(self._rows[-1, 0]) if len(self._rows) else 0

    def read(self, project: LabelStudioProject) -> None:
        """Makes all rows known that the project holds now.

        Raises:
            StudioError: Label Studio does not answer, or refuses.
        """
        self._load()
        if self._until is not None:
            settled, made = self._until - _LATER_COMMITS, self._until - _SAME_MOMENT
            self._list(project.all_tasks(since=settled, up_to=self._settled))
            self._list(project.all_tasks(since=made, above=self._settled))
        if self._until is None or len(self._rows) != project.num_tasks():  # some were deleted, or the clock was set back
            self._rows, self._until = self._rows[:0], None
            self._list(project.all_tasks())
            self._settled = self.last_id
        self._known.add_identities(self._rows[:, 1:].ravel())

    def made(self, tasks: Iterable[Task]) -> None:
        """Notes tasks that this import made."""
        for task in tasks:
            self._made.extend(self._row(task["id"], task["data"]))

    def write(self, project: LabelStudioProject) -> None:
        """Writes the file. It saves the next import time and does nothing else, so that no failure of it is an error."""
        with suppress(StudioError, OSError):
            if self._made:
                self._settled = self.last_id
                if self._until is not None:
                    since = self._until - _LATER_COMMITS
                    self._list(project.all_tasks(since=since, up_to=self._settled))  # edited meanwhile
                self._merge(self._made)
                self._made = array("Q")
                self._list(project.all_tasks(above=self.last_id - 1))  # for its time
            if self._until is not None:
                metadata = {"until": self._until.isoformat(), "settled": str(self._settled), "of": self._known.signature}
                content = save({"rows": np.ascontiguousarray(self._rows)}, metadata=metadata)
                write_whole(self._path, content, is_durable=False)

    def _list(self, tasks: Iterable[Task]) -> None:
        listed = array("Q")
        for task in tasks:
            listed.extend(self._row(task["id"], task["data"]))
            self._until = max(self._until or task["updated_at"], task["updated_at"])
        self._merge(listed)

    def _merge(self, listed: "array[int]") -> None:
        if not listed:
            return
        later = np.frombuffer(listed, dtype=np.uint64).reshape(-1, 1 + _WIDTH)
        rows = np.concatenate([self._rows[~np.isin(self._rows[:, 0], later[:, 0])], later])
        self._rows = rows[np.argsort(rows[:, 0], kind="stable")]

    def _row(self, task_id: int, data: dict[str, Any]) -> list[int]:
        rows = self._known.identities(data)
        return [task_id, *rows, *rows[:1] * (_WIDTH - len(rows))]

    def _load(self) -> None:
        with suppress(OSError, ValueError, KeyError, SafetensorError), safe_open(self._path, framework="np") as held:
            rows, metadata = held.get_tensor("rows"), held.metadata() or {}
            if metadata["of"] == self._known.signature and rows.dtype == np.uint64 and rows.shape[1:] == (1 + _WIDTH,):
                self._rows, self._until, self._settled = rows, datetime.fromisoformat(metadata["until"]), int(metadata["settled"])
