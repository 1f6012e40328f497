"""Removes predictions of earlier versions from unjudged tasks, a day after a newer prediction was stored beside them.

Covered: a page that was opened before the newer version was shown can still be submitted. Label Studio refuses a judgement
whose prediction was removed; it serves the prediction of the version that the project shows, in quick view and in the label
stream, and reserves a task of the label stream for one annotator for a day (its TASK_LOCK_TTL).
Judged tasks keep the prediction that their annotator saw. Tasks with a draft, and other models' predictions, stay untouched.
Not covered: a page that stays open for longer, or on which somebody chose an earlier version's tab.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

_GRACE = timedelta(days=1)


def remove_outdated(
    project: LabelStudioProject,
    versions: Sequence[str],
    *,
    served: str,
    above: int,
    now: datetime | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Cleans one page of tasks, those after the id `above`. Returns the last id of the page, or 0 after the last page.

    `versions`: our own; only their predictions are removed, and never those of `served`, which may be an older one after a
    rollback. One page a call leaves Label Studio time for people; `should_stop` ends the page between two tasks.
    """
    is_last_page = True
    for task in project.scored_again(above=above):
        is_last_page = False
        if should_stop():
            return above
        for prediction_id in _outdated(task, versions, served=served, before=(now or datetime.now(UTC)) - _GRACE):
            project.remove_prediction(prediction_id)
        above = int(task["id"])
    return 0 if is_last_page else above


def _outdated(task: Task, versions: Sequence[str], *, served: str, before: datetime) -> list[int]:
    """The ids of our predictions after which another version's was stored; all of that happened before the time `before`."""
    ours = [
        (p["created_at"], p["model_version"], p["id"])
        for p in task["predictions"]
        if p["created_at"] is not None and p["model_version"] in versions
    ]
    standing = sorted(line for line in ours if datetime.fromisoformat(line[0]) < before)
    if not standing or task["drafts"]:
        return []
    newest = standing[-1][1]
    return [prediction_id for _, version, prediction_id in standing if version not in (newest, served)]
