"""Removes what earlier versions predicted for tasks that nobody judged yet, once a newer prediction stood a day beside it.

Covered: a page that was opened before the newer version was shown can still be submitted: Label Studio refuses a judgement
whose prediction is gone. It serves the prediction of the version that the project shows, in quick view and in the label
stream, and keeps a task of the label stream for one annotator for a day (its TASK_LOCK_TTL).
Judged tasks keep the prediction that their annotator saw, tasks with a draft and other models' predictions are left alone.
Not covered: a page that is left open for longer, or on which an earlier version's tab was chosen by hand.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from preference.studio.project import LabelStudioProject, Task

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
    """Sees to one page of tasks, those after the id `above`; the id to go on from, or 0 when all were seen to.

    `versions`: our own, whose predictions these are; those of `served` stay, after a rollback too. One page a call, so that
    Label Studio has time for people; `should_stop` ends it between two tasks.
    """
    is_through = True
    for task in project.scored_again(above=above):
        is_through = False
        if should_stop():
            return above
        for prediction_id in _outdated(task, versions, served=served, before=(now or datetime.now(UTC)) - _GRACE):
            project.remove_prediction(prediction_id)
        above = int(task["id"])
    return 0 if is_through else above


def _outdated(task: Task, versions: Sequence[str], *, served: str, before: datetime) -> list[int]:
    """The ids of predictions of our versions beside which a newer version's stands since that time or longer."""
    ours = [(str(p["created_at"]), p["model_version"], p["id"]) for p in task["predictions"] if p["model_version"] in versions]
    standing = sorted(line for line in ours if datetime.fromisoformat(line[0]) < before)
    if not standing or task["drafts"]:
        return []
    newest = standing[-1][1]
    return [prediction_id for _, version, prediction_id in standing if version not in (newest, served)]
