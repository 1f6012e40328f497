"""The judgements of one project that earlier rounds read, in `judgements.jsonl`. A cache: to delete it costs a whole read.

    {"format": 2, "studio": ..., "project": 12, ...}    first; a file of another address, project or format is not trusted
    {"id": 7, "updated_at": ..., "data": ..., ...}      a task; a later line of it takes the place of an earlier one
    {"gone": [8, 9]}                                    tasks that were deleted, or have no annotation any more
    {"until": ..., "whole_at": ..., "off": [0, 0]}      ends a whole read; the next one starts from its `until`

Covered: a kill at any time (a torn last line is cut off, and what follows the last mark is true but promises nothing), a full
disk, damage. Two writers at once are kept apart by whoever writes.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from preference.atomic_files import replacing
from preference.studio.task import Annotation, StoredPrediction

FORMAT = 2
_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"  # as Label Studio's filters want it


class JudgedTask(TypedDict):
    """What is kept of a task that anyone judged or skipped."""

    id: int
    updated_at: str
    data: dict[str, Any]
    annotations: list[Annotation]
    predictions: list[StoredPrediction]
    duel: NotRequired[dict[str, Any]]  # of a duel: who wrote the answers (preference/duels/duel.py)
    meta: NotRequired[dict[str, Any]]  # of a repeat: what it repeats (preference/labelling/controls/repeats.py), and no more


@dataclass(frozen=True)
class SyncPoint:
    """Up to which moment everything is known, after a read that ended."""

    until: str | None = None  # no change up to this moment was missed; None while there was no task
    whole_at: float = 0.0  # when all was last read, in the trainer's seconds
    count_mismatch: tuple[int, int] = (0, 0)  # how many more judgements and skips Label Studio counted than it listed


class JudgementFile:
    """What the file holds, after `load`. `distrust` is why nothing may be built on it, or None."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """`header`: the first line that it must have."""
        self.path, self._header = path, dict(header)
        self.tasks: dict[int, JudgedTask] = {}
        self.sync_point = SyncPoint()
        self.distrust: str | None = None
        self._num_lines = self._num_bytes = 0  # of whole lines

    def load(self) -> None:
        """Reads what is there."""
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # torn by a kill
                    record = json.loads(line)
                    if self._num_lines == 0 and record != self._header:
                        self.distrust = "those kept are of another Label Studio, project or format"
                        return
                    if self._num_lines:
                        self._take(record)
                    self._num_lines += 1
                    self._num_bytes += len(line)
        except FileNotFoundError:
            self.distrust = "none were kept yet"
        except OSError as error:
            self.distrust = f"those kept cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError, AttributeError):
            self.distrust = f"{self.path} is damaged"
        else:
            if self.sync_point.until is None:
                self.distrust = "there were none yet" if self.sync_point.whole_at else f"{self.path} is damaged"

    def write(
        self, tasks: Mapping[int, JudgedTask], *, changed: Collection[int], deleted: Collection[int], sync_point: SyncPoint
    ) -> None:
        """Keeps `tasks`, of which `changed` are new or changed, `deleted` are no more, and all others are what was loaded.

        Raises:
            OSError: the folder is not writable, or the disk is full; what was kept before still is.
        """
        if self.distrust is not None or self._num_lines + len(changed) > 2 * len(tasks) + 100:
            self._rewrite(_lines([self._header, *tasks.values(), _record(sync_point)]))
        elif changed or deleted or sync_point != self.sync_point:
            dropped = [{"gone": sorted(deleted)}] if deleted else []
            # The sync point goes last: it promises that all before it is there.
            self._append(_lines([*(tasks[task_id] for task_id in sorted(changed)), *dropped, _record(sync_point)]))

    def _take(self, record: dict[str, Any]) -> None:
        if "until" in record:
            if record["until"] is not None:
                parsed(record["until"])
            judged, skipped = record["off"]
            self.sync_point = SyncPoint(record["until"], float(record["whole_at"]), (int(judged), int(skipped)))
        elif "gone" in record:
            for task_id in record["gone"]:
                self.tasks.pop(task_id, None)
        else:
            task = JudgedTask(
                id=record["id"],
                updated_at=record["updated_at"],
                data=record["data"],
                annotations=record["annotations"],
                predictions=record["predictions"],
            )
            if "duel" in record:
                task["duel"] = record["duel"]
            if "meta" in record:
                task["meta"] = record["meta"]
            counts([task])
            self.tasks[int(task["id"])] = task

    def _append(self, lines: Iterable[bytes]) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self._num_bytes)
            file.seek(self._num_bytes)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        # It holds prompts and answers, and only the trainer reads it.
        with replacing(self.path, is_private=True, is_only_writer=True) as temporary, temporary.open("wb") as file:
            file.writelines(lines)


def counts(tasks: Iterable[JudgedTask]) -> tuple[int, int]:
    """(judgements, skips) of tasks."""
    skips = [bool(annotation["was_cancelled"]) for task in tasks for annotation in task["annotations"]]
    return len(skips) - sum(skips), sum(skips)


def moment(value: datetime | float | str | None) -> str:
    """A time, or seconds since 1970, as text that sorts; "" for none."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, str) and value:
        value = datetime.fromisoformat(value)
    return value.astimezone(UTC).strftime(_MOMENT) if isinstance(value, datetime) else ""


def parsed(text: str) -> datetime:
    """The time that `moment` made a text of."""
    return datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)


def _record(sync_point: SyncPoint) -> dict[str, Any]:
    return {"until": sync_point.until, "whole_at": sync_point.whole_at, "off": list(sync_point.count_mismatch)}


def _lines(records: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    return (json.dumps(record).encode() + b"\n" for record in records)
