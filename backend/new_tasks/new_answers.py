"""New answers, if an annotator asked for them: a new task with the same prompt, which the filler answers like any other.

Label Studio's interactive mode cannot do it: no <Pairwise> and no <Choices> calls /predict, and the answer of /predict fills
controls, never the texts that are compared (label-studio 1.23.2). So an annotator asks with a choice of the verdict. The
task itself stays as it was judged, with its answers. The meta of each of the two tasks names the other; that of the new one
names the annotation that asked, so that it is found again whatever becomes of the old one's meta.

Covered: one new task for each task, however many annotators ask; a process that is killed between making and marking it; a
task that Label Studio refuses to make or to mark, which is tried again and holds up no other; whatever else is written into a
task's meta meanwhile.
Not covered: a Label Studio that does not acknowledge a task and stores it later than the next pass (there are two then); a
Label Studio whose clock is set back, or more than a minute behind ours while judgements end out of order.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from preference.atomic_files import write_whole
from preference.errors import StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.labelling.task_pairs import annotator_of
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.studio.project import LabelStudioProject
from preference.studio.task import Annotation, Task, entry_of, with_entry

META_KEY = "pairloop_new_answers"
_OVERLAP = timedelta(minutes=1)  # transactions end out of order
_EVER = datetime.fromtimestamp(0, UTC)
_TRIED_AGAIN = 20  # failures, at one look


def ask_again(
    project: LabelStudioProject, folder: ProjectFolder, layout: LabelingLayout, problems: ProjectProblems,
    *, clock: Callable[[], float] = time.monotonic,
) -> int:  # fmt: skip
    """The number of tasks made for annotators who want other answers. `folder` keeps how far it has looked, and what failed.

    `problems` are told of a task that gets none. `clock` gives seconds.

    Raises:
        StudioError: Label Studio cannot be read or written; the next pass goes on.
    """
    if layout.verdict is None or not layout.verdict.texts("new_answers") or layout.prompt_field is None:
        return 0  # nobody asks, or nobody could answer
    path = folder.path / "new_answers"
    before = _Looked.read(path)
    latest = before.until
    new: dict[int, list[Annotation]] = {}
    began = clock()
    for task in project.judged_since(before.until):
        latest = max(latest, task["updated_at"])
        if task["id"] not in before.failed and (asking := _asking(task, layout)):
            new[task["id"]] = asking
    overlap = _OVERLAP + timedelta(seconds=clock() - began)  # a task of an earlier page may have changed meanwhile
    tried = list(before.failed)[:_TRIED_AGAIN]
    there = {task["id"]: task for task in project.judged_among(tried)}
    again = {task_id: asking for task_id in tried if task_id in there and (asking := _asking(there[task_id], layout))}
    # A failure whose task was deleted, or that asks no more, is forgotten.
    failed = {task_id: failure for task_id, failure in before.failed.items() if task_id in again or task_id not in tried}
    moments = [_moment_of(annotation.get("created_at")) for asking in new.values() for annotation in asking]
    made = _made_since([*moments, *(_moment_of(before.failed[task_id].since) for task_id in again)], project)
    num_made = 0
    for task_id, asking in [*new.items(), *again.items()]:
        failure = failed.pop(task_id, None)
        in_task = next((made[annotation["id"]] for annotation in asking if annotation["id"] in made), None)
        in_task = in_task or (failure.in_task if failure else None)
        try:
            if in_task is None:
                in_task = _make(project, task_id, asking[0], layout)
                num_made += 1
            _mark(project, task_id, in_task=in_task)
        except StudioKeyError:
            raise
        except StudioNotFound:  # deleted since
            continue
        except (StudioError, ValueError) as error:
            # Behind the others, which have their turn first.
            failed[task_id] = _Failure(str(error), since=before.until.isoformat(), in_task=in_task)
            if isinstance(error, StudioUnreachable):  # which took its time: the next look goes on
                dataclasses.replace(before, failed=failed).write(path)
                if not error.is_of_one_call:
                    raise
                problems.note(project.id, "new answers", _sentence(failed))
                return num_made
    # Tasks that changed within this minute, such as an import of judged ones, are read again for a minute, and no longer.
    settled = max(before.until, latest - overlap, min(latest, datetime.now(UTC) - overlap))
    if (after := _Looked(settled, failed)) != before or again:  # which changed places
        after.write(path)
    problems.note(project.id, "new answers", _sentence(failed))
    return num_made


@dataclass(frozen=True)
class _Failure:
    """Why a task has no new answers yet."""

    reason: str
    since: str  # an ISO time of Label Studio's clock, before which no new task was made
    in_task: int | None = None  # the new task, if Label Studio said that it made it


@dataclass(frozen=True)
class _Looked:
    """Up to which moment of Label Studio's clock all asks are known, and those that failed, the one tried longest ago first."""

    until: datetime = _EVER
    failed: dict[int, _Failure] = field(default_factory=dict)  # by task

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote; from the beginning without it. Build e08322f wrote a time alone, and had passed over asks."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            failed = {int(task_id): _Failure(**failure) for task_id, failure in values["failed"].items()}
            return cls(datetime.fromisoformat(values["until"]).astimezone(UTC), failed)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls()

    def write(self, path: Path) -> None:
        """If it cannot be written, the same tasks are read again."""
        failed = {task_id: vars(failure) for task_id, failure in self.failed.items()}
        with suppress(OSError):
            write_whole(path, json.dumps({"until": self.until.isoformat(), "failed": failed}), is_durable=False)


def _sentence(failed: Mapping[int, _Failure]) -> str:
    """Which tasks get no new answers, and why; the same whichever was tried last."""
    if not failed:
        return ""
    task_id = min(failed)
    others = f" (and {len(failed) - 1} others)" if len(failed) > 1 else ""
    return f"task {task_id}{others} gets no new answers: {failed[task_id].reason}"


def _asking(task: Task, layout: LabelingLayout) -> list[Annotation]:
    """The annotations that ask, the first one first; none if the task has its new task."""
    asking: Iterable[Annotation] = (
        annotation
        for annotation in task["annotations"]
        if not annotation.get("was_cancelled") and Pairwise.judgement(layout, annotation.get("result")).wants_new_answers
    )
    return [] if "in_task" in _link(task) else sorted(asking, key=lambda annotation: annotation["id"])


def _made_since(moments: Sequence[datetime], project: LabelStudioProject) -> dict[Any, int]:
    """The tasks that were made since the first of these moments, by the annotation that asked for them.

    Their old tasks may not say so: a process was killed before it could mark one, or somebody wrote over its meta.
    """
    if not moments:
        return {}
    made = [(_link(task).get("annotation"), task["id"]) for task in project.tasks_made_since(min(moments) - _OVERLAP)]
    return {annotation: task_id for annotation, task_id in made if isinstance(annotation, int)}


def _make(project: LabelStudioProject, task_id: int, annotation: Annotation, layout: LabelingLayout) -> int:
    """The new task, which has no answers."""
    task = _read(project, task_id)
    origin = {"for_task": task_id, "annotation": annotation["id"], "annotator": annotator_of(annotation)}
    data = layout.laid_out(layout.with_answers(task["data"], dict.fromkeys(layout.answer_fields, "")))
    made = project.import_tasks([{"data": data, "meta": {META_KEY: origin}}])
    if len(made) != 1:
        raise StudioError(f"Label Studio did not name the task that it made for task {task_id}.")
    return made[0]


def _mark(project: LabelStudioProject, task_id: int, *, in_task: int) -> None:
    task = _read(project, task_id)  # now: all else in its meta is to stay
    meta = with_entry(task, META_KEY, {**_link(task), "in_task": in_task})
    if meta is not None:  # else the new task alone names the other
        project.store_meta(task_id, meta)


def _read(project: LabelStudioProject, task_id: int) -> Task:
    task = project.tasks([task_id]).get(task_id)
    if task is None:
        raise StudioNotFound(f"Project {project.id} has no task {task_id} any more.")
    return task


def _link(task: Task) -> dict[str, Any]:
    """What a task's meta says of the other task."""
    return entry_of(task, META_KEY)


def _moment_of(text: str | None) -> datetime:
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return _EVER
