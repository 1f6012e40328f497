"""The labels that are most likely wrong, for people to look at again."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from preference.errors import StudioError, StudioNotFound
from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import SuspectLabel
from preference.studio.project import LabelStudioProject
from preference.studio.storable import storable
from preference.studio.task import Task, entry_of, with_entry

logger = logging.getLogger("pairloop.reporting")
META_KEY = "pairloop_suspect"
REFUSED = "refused by Label Studio"
NUM_SUSPECTS = 20
_LEAST_SURE = 0.6  # that a label is wrong. With a tenth of 250 hh-rlhf labels turned: of 20 named 6 were, at 2/3 three of 4


def most_suspect(
    train: Sequence[PreferencePair],
    gaps: ArrayLike | None,
    *,
    temperature: float,
    project_url: str,
    most: int = NUM_SUSPECTS,
) -> tuple[SuspectLabel, ...]:
    """The votes that models which did not see them contradict most, worst first; empty without such models.

    `gaps`: TrainingResult.gaps, of these pairs. `temperature`: of the reward model; `probability` = sigmoid(gap / temperature), that
    the label is right. `project_url`: the project's page in Label Studio. A label is suspect if the model is at least as sure
    that it is wrong as it is, on average, that a label is right, and .6 (confident learning: Northcutt et al., arXiv 1911.00068).
    """
    if gaps is None:
        return ()
    gap = np.asarray(gaps, dtype=float)
    votes = [i for i, pair in enumerate(train) if pair.kind == "vote" and np.isfinite(gap[i])]
    if not votes:
        return ()
    probability = expit(gap / temperature)
    usual = max(_LEAST_SURE, float(probability[votes].mean()))
    suspects = sorted((i for i in votes if gap[i] < 0 and 1 - probability[i] >= usual), key=lambda i: gap[i])
    return tuple(
        SuspectLabel(
            task=train[i].task_id,
            annotation=train[i].annotation_id,
            annotator=train[i].annotator_id,
            gap=round(float(gap[i]), 4),
            probability=round(float(probability[i]), 4),
            link=f"{project_url}/data?task={train[i].task_id}" if train[i].task_id is not None else None,
        )
        for i in suspects[:most]
    )


def mark_suspects(
    project: LabelStudioProject, suspects: Sequence[SuspectLabel], *, version: str, marked_before: Iterable[int] = ()
) -> Counter[str]:
    """How many tasks were marked, were marked already, lost their mark, had none to lose, cannot be marked, or are deleted; by these words.

    A task's meta gets `pairloop_suspect`; all else in it stays, and so does its data. `marked_before`: the tasks that earlier
    cards named, whose mark goes if they are no longer suspect.
    """
    marks: dict[int, dict[str, Any]] = {}
    for suspect in suspects:  # worst first, and one task may have several
        if suspect.task is not None:
            mark = {key: getattr(suspect, key) for key in ("annotation", "annotator", "gap", "probability")}
            marks.setdefault(suspect.task, {**mark, "version": version})
    asked = sorted({*marks, *marked_before})
    tasks = project.tasks(asked)
    return Counter(_mark(project, task_id, tasks.get(task_id), marks.get(task_id)) for task_id in asked)


def _mark(project: LabelStudioProject, task_id: int, task: Task | None, mark: dict[str, Any] | None) -> str:
    """What was done to the task so that its meta holds this mark, or none. `task`: as it was listed."""
    if task is not None and (mark or {}) == entry_of(task, META_KEY):
        return "marked already" if mark else "without a mark"
    now = project.tasks([task_id]).get(task_id) if task is not None else None  # what was written since is to stay
    if now is None:
        return "deleted"
    meta = with_entry(now, META_KEY, storable(mark)[0])
    if meta is None:
        return "meta is no object"
    try:
        project.store_meta(task_id, meta)
    except StudioNotFound:
        return "deleted"
    except StudioError as error:
        if not error.is_of_one_call:
            raise
        logger.warning("project %d: task %d cannot be marked: %s", project.id, task_id, error)
        return REFUSED
    return "marked" if mark else "mark removed"
