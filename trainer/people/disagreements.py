"""Tasks that people judge in different ways, listed in Label Studio for a third look."""

import logging
from collections import Counter
from collections.abc import Sequence

from preference.errors import StudioError
from preference.labelling.pairs import PreferencePair
from preference.studio.project import LabelStudioProject
from preference.studio.tabs import THIRD_LOOK
from trainer.people.judgements import judgements_of, outcomes_by_task

logger = logging.getLogger("pairloop.judgements")


def list_disagreements(project: LabelStudioProject, pairs: Sequence[PreferencePair]) -> None:
    """Has the tab that `connect --overlap` made list the tasks without a majority. No round is lost for a tab."""
    shared = outcomes_by_task(judgements_of(pairs))
    if not shared:
        return
    undecided = {task_id for (task_id, _), outcomes in shared.items() if task_id and not _has_majority(list(outcomes.values()))}
    try:
        project.tabs.fill(THIRD_LOOK, sorted(undecided))
    except StudioError as error:
        logger.warning("project %d: the tasks on which people disagree cannot be listed: %s", project.id, error)


def _has_majority(outcomes: list[str]) -> bool:
    ((_, most),) = Counter(outcomes).most_common(1)
    return 2 * most > len(outcomes)
