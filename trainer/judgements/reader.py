"""A project's judgements as they stand now, of which a round downloads only what changed since the last one.

Measured on label-studio 1.23.2. These change a task's `updated_at`: an annotation is made, edited, skipped, unskipped, marked as
ground truth or unmarked, or deleted, by hand or by an action of the Data Manager; a PATCH of data or meta; one prediction by
POST. These do not: a draft; predictions that are imported or deleted in bulk; another overlap or label config; "Remove
Duplicates", which gives annotations to another task with the same data. `completed_at` changes with new annotations only, never
with a skip, and is null until the overlap is reached: it would miss edits.

Covered: edits; deleted annotations and tasks; ids that SQLite gives to new tasks again; transactions that end in another order
than they began; a clock that is set back; two processes at once; and what trainer/judgements/cache_file.py covers. The numbers of
judgements and skips are compared with Label Studio's own; if they differ by more or less than they lastingly do, as they may by a
task whose counters are stale, the states of all annotated tasks are compared.
Not covered until everything is read again, once a week: "Remove Duplicates" (the pairs are the same, under the task that was
deleted); the deletion of a prediction that an annotator saw (he still saw it); an edit while Label Studio's clock is more than
five minutes behind what it was before.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from preference.duels.duel import KEY, DuelRecord
from preference.labelling.controls.repeats import repeat_of
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Annotation, ProjectFields, Task, entry_of, is_annotated
from trainer.judgements.cache_file import FORMAT, JudgedTask, JudgementFile, SyncPoint, counts, moment, parsed

logger = logging.getLogger("pairloop.judgements")
_OVERLAP = timedelta(minutes=5)
_WHOLE_EVERY_SECONDS = 7 * 24 * 3600
_LOCK_SECONDS = 600.0  # a whole read of 50,000 tasks takes some two minutes
_ANNOTATION = (
    "id", "result", "was_cancelled", "ground_truth", "completed_by", "created_at", "updated_at", "lead_time", "parent_prediction"
)  # fmt: skip
_PREDICTION = ("id", "model_version", "result", "score")


def read_judgements(project: LabelStudioProject, folder: Path, *, state: ProjectFields, now: float) -> list[JudgedTask]:
    """Every task that anyone judged or skipped, as it stands now, ordered by id, with what `pairs_of_task` needs and no more.

    `folder`: the project's folder in MODEL_DIR, which keeps them for the next read; if it cannot, Label Studio is asked for all of
    them each time. `state`: what `project.read()` answered just before. `now`: seconds since 1970.
    """
    created_at = moment(state.get("created_at"))  # another Label Studio at the same address may have this project id, too
    header = {"format": FORMAT, "studio": project.url, "project": project.id, "created_at": created_at}
    file = JudgementFile(folder / "judgements.jsonl", header)
    lock = FileLock(folder / "judgements.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_LOCK_SECONDS)
    except (OSError, Timeout) as error:
        _warn(project, file, error)
        file.distrust = "none can be kept"
        return _read(project, file, state, now=now).in_order()
    try:
        file.load()
        reading = _read(project, file, state, now=now)
        try:
            file.write(reading.tasks, changed=reading.changed, deleted=reading.deleted, sync_point=reading.sync_point)
        except OSError as error:
            _warn(project, file, error)
        return reading.in_order()
    finally:
        lock.release()


def _warn(project: LabelStudioProject, file: JudgementFile, error: Exception) -> None:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    logger.warning(
        "project %d: judgements cannot be kept in %s (%s), so that more of them are read than need be; "
        "free some space, or mount MODEL_DIR read-write", project.id, file.path, why,
    )  # fmt: skip


def _read(project: LabelStudioProject, file: JudgementFile, state: ProjectFields, *, now: float) -> "_Reading":
    if file.distrust is None and not 0 <= now - file.sync_point.whole_at < _WHOLE_EVERY_SECONDS:
        file.distrust = "the last time was over a week ago" if now > file.sync_point.whole_at else "the clock was set back"
    reading = _Reading(dict(file.tasks), file.sync_point)
    read = reading.read_all if file.distrust is not None else reading.read_changes
    how = read(project, state, now=now)
    if file.distrust is not None:
        how = f"{how}, as {file.distrust}"
    logger.info(
        "project %d: %d judged tasks changed, %d are known: %s", project.id, len(reading.changed), len(reading.tasks), how
    )
    return reading


@dataclass
class _Reading:
    """What is known of the judgements: what the file has, corrected by what Label Studio answers."""

    tasks: dict[int, JudgedTask]
    sync_point: SyncPoint
    changed: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)

    def in_order(self) -> list[JudgedTask]:
        """By id: what a round trains on must not depend on the order in which judgements were read."""
        return [self.tasks[task_id] for task_id in sorted(self.tasks)]

    def read_all(self, project: LabelStudioProject, state: ProjectFields, *, now: float) -> str:
        """Reads everything, and returns how that was done, for the log."""
        self.tasks = {task["id"]: _trimmed(task) for task in project.annotated_tasks()}
        self.changed = set(self.tasks)
        # No later than `now`: while later pages were read, tasks of earlier ones may have been edited.
        until = min(max((task["updated_at"] for task in self.tasks.values()), default=""), moment(now))
        self.sync_point = SyncPoint(until or None, now, self._lasting_mismatch(state, project.read()))
        return "all were read"

    def read_changes(self, project: LabelStudioProject, state: ProjectFields, *, now: float) -> str:
        """Reads what changed, and returns how that was done, for the log."""
        until, whole_at, lasting = self.sync_point.until or "", self.sync_point.whole_at, self.sync_point.count_mismatch
        since = moment(parsed(until) - _OVERLAP)
        counted = state
        for attempt in range(2):  # twice, as people may be judging meanwhile
            counted = project.read() if attempt else state
            until = max(until, min(self._update(project, project.task_states(changed_since=since)), moment(now)))
            mismatch = self._count_mismatch(counted)
            if mismatch == lasting:  # not (0, 0) beside it: a deletion can make that of a lasting one
                self.sync_point = SyncPoint(until, whole_at, lasting)
                return f"changes since {since}"
        until = max(until, min(self._update(project, project.task_states(), is_list=True), moment(now)))
        self.sync_point = SyncPoint(until, whole_at, self._lasting_mismatch(counted, project.read()))
        return f"the states of all were compared, as Label Studio counted {mismatch[0]:+d} judgements and {mismatch[1]:+d} skips"

    def _update(self, project: LabelStudioProject, states: Iterable[Task], *, is_list: bool = False) -> str:
        """Reads the tasks whose state differs from what is known of them. Returns the latest `updated_at` among the states.

        `is_list`: the states are those of all tasks, so that a known task without one was deleted.
        """
        newest, named, wanted = "", set(), []
        for state in states:
            named.add(state["id"])
            newest = max(newest, moment(state["updated_at"]))
            if not is_annotated(state):
                self._drop(state["id"])
            elif _as_listed(state) != _as_known(self.tasks.get(state["id"])):
                wanted.append(state["id"])
        read = {task["id"]: _trimmed(task) for task in project.annotated_among(wanted)}
        for task_id in (set(wanted) - set(read)) | (set(self.tasks) - named if is_list else set()):
            self._drop(task_id)
        for task_id, task in read.items():
            if task != self.tasks.get(task_id):
                self.tasks[task_id] = task
                self.changed.add(task_id)
                self.deleted.discard(task_id)
        return newest

    def _drop(self, task_id: int) -> None:
        if self.tasks.pop(task_id, None) is not None:
            self.changed.discard(task_id)
            self.deleted.add(task_id)

    def _lasting_mismatch(self, before: ProjectFields, after: ProjectFields) -> tuple[int, int]:
        """The mismatch that later reads tolerate: that of both states, or (0, 0) if they differ.

        If they differ, somebody was judging between the two, and what was deleted then must not be tolerated later.
        """
        mismatch = self._count_mismatch(after)
        return mismatch if mismatch == self._count_mismatch(before) else (0, 0)

    def _count_mismatch(self, state: ProjectFields) -> tuple[int, int]:
        """How many more judgements and skips Label Studio counts in the project than are known.

        Its numbers of a project are exact; those of a task can be stale.
        """
        judged, skipped = counts(self.tasks.values())
        counted = (int(state.get(f"{kind}_annotations_number") or 0) for kind in ("total", "skipped"))
        return next(counted) - judged, next(counted) - skipped


def _trimmed(task: Task) -> JudgedTask:
    annotations = [
        cast(Annotation, {key: annotation.get(key) for key in _ANNOTATION}) for annotation in task.get("annotations") or []
    ]
    parents = {annotation["parent_prediction"] for annotation in annotations}
    predictions = [prediction for prediction in task.get("predictions") or [] if prediction.get("id") in parents]
    trimmed: JudgedTask = {
        "id": task["id"],
        "updated_at": moment(task.get("updated_at")),
        "data": task["data"],
        "annotations": sorted(annotations, key=lambda annotation: annotation["id"] or 0),  # PostgreSQL keeps no order
        "predictions": [{key: prediction.get(key) for key in _PREDICTION} for prediction in predictions],
    }
    if (record := DuelRecord.of(entry_of(task, META_KEY).get(KEY))) is not None:
        trimmed["duel"] = record.to_values()
    if (repeat := repeat_of(task)) is not None:
        trimmed["meta"] = repeat.to_meta()
    return trimmed


def _as_listed(state: Task) -> tuple[str, int, int]:
    return moment(state["updated_at"]), int(state["total_annotations"] or 0), int(state["cancelled_annotations"] or 0)


def _as_known(task: JudgedTask | None) -> tuple[str, int, int]:
    return (task["updated_at"], *counts([task])) if task is not None else ("", 0, 0)
