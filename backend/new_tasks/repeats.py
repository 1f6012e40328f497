"""Comparisons that come back to be judged again, as tasks of their own (preference/labelling/controls/repeats.py).

A hash of a judgement's id draws a share of them (REPEATS). A drawn one comes back when its annotator has judged some more and is at work:
the free edition of Label Studio gives a task to whoever comes next, and the copy is the next one of all. Whoever gets it instead says
how two people agree.

Covered: a judgement comes back once; a judgement or a task that was deleted, skipped or turned into none does not; a task that Label
Studio refuses; so many that none piles up while nobody judges, and that they come no closer than twice the share after a pause of the
backend. Copies that nobody judged are removed if what they repeat is deleted.
Not covered: judgements that were made before the first look, or while REPEATS was 0; a process that is killed between making a copy and
noting that: the copy waits as any task does, and is not removed; imported judgements, which come back as if their annotator had just
made them; rankings.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

from preference.atomic_files import write_whole
from preference.labelling.controls.repeats import Repeat, repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.labelling.task_pairs import annotator_of
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import OpenRepeats
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields, Task, is_annotated

LEAST_BETWEEN = 50  # judgements of the same person: an hour's work or so, after which few remember which side they chose
_EVER = datetime.fromtimestamp(0, UTC)
_OVERLAP = timedelta(minutes=1)  # transactions end out of order
_MOST_QUEUED = 1000
_COUNTS = ("task_number", "total_annotations_number", "skipped_annotations_number")  # if none changed, nobody did anything


def ask_for_repeats(
    project: LabelStudioProject, folder: ProjectFolder, layout: LabelingLayout, *, state: ProjectFields, share: float,
    least_between: int = LEAST_BETWEEN,
) -> int:  # fmt: skip
    """The number of copies made at this look, 0 or 1. `folder` keeps how far it has looked, what is to come back, and what is open.

    `share`: of all judgements, 0..1; at 0, copies that nobody judged are removed. `state`: what `project.read()` gave.

    Raises:
        StudioError: Label Studio cannot be read or written; the next pass goes on.
    """
    path = folder.path / OpenRepeats.FILE
    before = _Looked.read(path)
    if not share or layout.ranker is not None:
        end_repeats(project, folder)
        return 0
    counts = tuple(int(state.get(name) or 0) for name in _COUNTS)
    if before is None:  # what was judged until now does not come back
        first = _look(_Looked(), project, share=share)[0] if any(counts[1:]) else _Looked()
        replace(first, counts=counts, queue=(), num_since=0).write(path)
        return 0
    if counts == before.counts:  # nobody is at work
        return 0
    looked, at_work = _look(replace(before, counts=counts), project, share=share)
    looked = replace(looked, open=_still_open(project, looked.open)[0])
    due = [
        drawn
        for who in at_work
        for drawn in looked.queue
        if drawn.annotator == who and looked.made.get(str(who), 0) >= drawn.made + least_between
    ]
    num_made = 0
    most_open = share * (counts[0] - int(state.get("num_tasks_with_annotations") or 0))
    if due and 2 * share * looked.num_since >= 1 and len(looked.open) <= most_open:
        looked = replace(looked, queue=tuple(drawn for drawn in looked.queue if drawn is not due[0]))
        is_kept = looked.write(path)  # first: a task that Label Studio refuses is not tried again, and none is made twice
        if is_kept and (task := _copy(project, layout, due[0])) is not None:
            made = project.import_tasks([task])
            looked = replace(looked, open=(*looked.open, *made), num_since=0)
            num_made = len(made)
    looked.write(path)
    return num_made


def end_repeats(project: LabelStudioProject, folder: ProjectFolder) -> int:
    """How many copies that nobody judged were removed; those that somebody has begun to judge stay, and are removed at a later call.

    Raises:
        StudioError: Label Studio cannot be read or written; the next call goes on.
    """
    path = folder.path / OpenRepeats.FILE
    if (before := _Looked.read(path)) is None:
        return 0
    still_open, num_removed = _still_open(project, before.open, are_wanted=False)
    if still_open:
        replace(before, open=still_open).write(path)
    else:
        with suppress(OSError):  # as with what cannot be written
            path.unlink(missing_ok=True)
    return num_removed


class _Drawn(NamedTuple):
    """A judgement that is to come back."""

    task: int
    annotation: int
    annotator: int
    made: int  # judgements of this annotator until then


@dataclass(frozen=True)
class _Looked:
    """Up to which moment of Label Studio's clock, and up to which annotation, all is known."""

    until: datetime = _EVER
    newest: int = 0  # the highest id of an annotation
    counts: tuple[int, ...] = ()  # of the project then: _COUNTS
    made: dict[str, int] = field(default_factory=dict)  # judgements by annotator
    queue: tuple[_Drawn, ...] = ()
    open: tuple[int, ...] = ()  # copies that nobody judged, as far as is known
    num_since: int = 0  # judgements since the last copy

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What `write` wrote; None without it."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                datetime.fromisoformat(values["until"]).astimezone(UTC),
                int(values["newest"]),
                tuple(map(int, values["counts"])),
                {str(who): int(number) for who, number in values["made"].items()},
                tuple(_Drawn(*map(int, drawn)) for drawn in values["queue"]),
                tuple(map(int, values["open"])),
                int(values["num_since"]),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def write(self, path: Path) -> bool:
        """Whether it could be written; if not, the same judgements are read again, and nothing comes back."""
        values = {**vars(self), "until": self.until.isoformat()}
        with suppress(OSError):
            write_whole(path, json.dumps(values), is_durable=False)
            return True
        return False


def _look(before: _Looked, project: LabelStudioProject, *, share: float) -> tuple[_Looked, list[int]]:
    """What is known now, and who judged since the last look, the latest first."""
    latest, made, queue, judged = before.until, Counter(before.made), list(before.queue), set[int]()
    new: list[tuple[int, int | None, int, bool]] = []  # annotation, annotator, task, whether that is a repeat
    for task in project.judged_since(before.until):
        latest = max(latest, task["updated_at"])
        is_repeat = repeat_of(task) is not None
        if is_repeat:
            judged.add(task["id"])
        for annotation in task["annotations"]:
            if annotation["id"] > before.newest and not annotation.get("was_cancelled"):
                new.append((annotation["id"], annotator_of(annotation), task["id"], is_repeat))
    at_work: dict[int, None] = {}
    for annotation_id, who, task_id, is_repeat in sorted(new, key=lambda each: each[0]):
        if who is None:
            continue
        at_work = {who: None} | {other: None for other in at_work if other != who}
        made[str(who)] += 1
        if not is_repeat and _is_drawn(project.id, annotation_id, share):
            queue.append(_Drawn(task_id, annotation_id, who, made[str(who)]))
    settled = max(before.until, latest - _OVERLAP, min(latest, datetime.now(UTC) - _OVERLAP))
    still_open = tuple(task_id for task_id in before.open if task_id not in judged)
    newest = max([before.newest, *(annotation_id for annotation_id, *_ in new)])
    num_since = before.num_since + len(new)
    looked = _Looked(settled, newest, before.counts, dict(made), tuple(queue[-_MOST_QUEUED:]), still_open, num_since)
    return looked, list(at_work)


def _is_drawn(project_id: int, annotation_id: int, share: float) -> bool:
    digest = hashlib.sha256(f"repeat|{project_id}|{annotation_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 < share


def _still_open(project: LabelStudioProject, task_ids: Sequence[int], *, are_wanted: bool = True) -> tuple[tuple[int, ...], int]:
    """(those copies that nobody judged or skipped, how many were removed).

    Removed is one whose task was deleted, as it holds the same texts, and any if they are not wanted; not under the hands of somebody
    who has begun to judge it.
    """
    tasks = project.tasks(task_ids) if task_ids else {}
    waiting = {task_id: repeat for task_id, task in tasks.items() if not is_annotated(task) and (repeat := repeat_of(task))}
    there = project.tasks([repeat.of_task for repeat in waiting.values()]) if are_wanted and waiting else {}
    unwanted = [task_id for task_id, repeat in waiting.items() if repeat.of_task not in there]
    removed = [task_id for task_id in unwanted if not project.has_draft(task_id)]
    for task_id in removed:
        project.remove_task(task_id)
    return tuple(task_id for task_id in waiting if task_id not in removed), len(removed)


def _copy(project: LabelStudioProject, layout: LabelingLayout, drawn: _Drawn) -> Task | None:
    """The task that repeats a judgement; None if that is none any more."""
    task = next(project.annotated_among([drawn.task]), None)
    made = next((each for each in task["annotations"] if each["id"] == drawn.annotation), None) if task else None
    if task is None or made is None or made.get("was_cancelled"):
        return None
    texts = layout.comparable_answers(task["data"])
    if Pairwise.judgement(layout, made.get("result")).outcome is None or not texts or texts[0].strip() == texts[1].strip():
        return None
    seen = next((each for each in task["predictions"] if each["id"] == made.get("parent_prediction")), {})
    shown = Pairwise.shown(layout, seen.get("result"))
    return {
        "data": layout.exchanged(task["data"]),
        "meta": Repeat(task["id"], drawn.annotation, shown.mirrored).to_meta(),
    }
