"""New answers, if an annotator asked for them: a new task with the same prompt, which the filler answers like any other.

Label Studio's interactive mode cannot do it: no <Pairwise> and no <Choices> calls /predict, and the answer of /predict fills
controls, never the texts that are compared (label-studio 1.23.2). So an annotator asks with a choice of the verdict. The
task itself stays as it was judged, with its answers. The meta of each of the two tasks names the other.

Covered: one new task for each task, however many annotators ask; a process that is killed between making and marking it; a
task that Label Studio refuses to make.
Not covered: a Label Studio that does not acknowledge a task and stores it later than the next pass (there are two then);
requests older than a day when the first pass over a project begins; a Label Studio whose clock is set back, or more than a
minute behind ours while judgements end out of order.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from preference.atomic_files import write_whole
from preference.errors import StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import annotator_of
from preference.labelling.results import Pairwise
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import Annotation, Task

logger = logging.getLogger("pairloop.filling")
META_KEY = "pairloop_new_answers"
_OVERLAP = timedelta(minutes=1)  # transactions end out of order
_AT_FIRST = timedelta(days=1)


def ask_again(project: LabelStudioProject, folder: ProjectFolder, layout: LabelingLayout) -> int:
    """The number of tasks made for annotators who want other answers. `folder` keeps the time up to which it has looked.

    Raises:
        StudioError: Label Studio cannot be read or written; the next pass goes on.
    """
    if layout.verdict is None or not layout.verdict.texts("new_answers"):
        return 0
    path = folder.path / "new_answers"
    looked_until = _read(path)
    asked: dict[int, Annotation] = {}  # by task
    latest = looked_until
    for task in project.judged_since(looked_until):
        latest = max(latest, task["updated_at"])
        if "in_task" not in _link(task) and (annotation := _asking(task, layout)) is not None:
            asked[task["id"]] = annotation
    num_made = _make(project, asked, layout, since=looked_until) if asked else 0
    # Tasks that changed within this minute, such as an import of judged ones, are read again for a minute, and no longer.
    settled = max(latest - _OVERLAP, min(latest, datetime.now(UTC) - _OVERLAP))
    if settled > looked_until:
        with suppress(OSError):  # then the same tasks are read again
            write_whole(path, settled.isoformat(), is_durable=False)
    return num_made


def _make(project: LabelStudioProject, asked: dict[int, Annotation], layout: LabelingLayout, *, since: datetime) -> int:
    # Made by a process that was killed before it could mark the old tasks, and so before it wrote how far it had looked.
    made = {_link(task).get("for_task"): task["id"] for task in project.tasks_made_since(since)}
    old, num_made = project.tasks(list(asked)), 0
    for task_id, task in old.items():
        if task_id not in made:
            try:
                (made[task_id],) = project.import_tasks([_unanswered(task, asked[task_id], layout)])
            except (StudioUnreachable, StudioKeyError):
                raise
            except StudioError as error:  # of this task alone, such as one that lacks a field that the label config shows
                logger.warning("project %d: task %d gets no new answers: %s", project.id, task_id, error)
                continue
            num_made += 1
        with suppress(StudioNotFound):  # deleted since
            project.store_meta(task_id, {**(task.get("meta") or {}), META_KEY: {**_link(task), "in_task": made[task_id]}})
    return num_made


def _asking(task: Task, layout: LabelingLayout) -> Annotation | None:
    """The first annotation that asks."""
    asking: Iterable[Annotation] = (
        annotation
        for annotation in task["annotations"]
        if not annotation.get("was_cancelled") and Pairwise.judgement(layout, annotation.get("result")).wants_new_answers
    )
    return min(asking, key=lambda annotation: annotation["id"], default=None)


def _unanswered(task: Task, annotation: Annotation, layout: LabelingLayout) -> Task:
    origin = {"for_task": task["id"], "annotation": annotation["id"], "annotator": annotator_of(annotation)}
    return {"data": {**task["data"], **dict.fromkeys(layout.answer_fields, "")}, "meta": {META_KEY: origin}}


def _link(task: Task) -> dict[str, Any]:
    """What a task's meta says of the other task."""
    link = (task.get("meta") or {}).get(META_KEY)
    return link if isinstance(link, dict) else {}


def _read(path: Path) -> datetime:
    try:
        return datetime.fromisoformat(path.read_text(encoding="utf-8")).astimezone(UTC)
    except (OSError, ValueError):
        return datetime.now(UTC) - _AT_FIRST
