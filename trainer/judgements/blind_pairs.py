"""Blind judgements of tasks that were served by lot: a fair sample, by which a version can be certified."""

from collections import Counter
from collections.abc import Iterable, Sequence

from preference.labelling.control_group import ControlGroup
from preference.labelling.controls.criteria import Condition
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.task_pairs import pairs_of_task
from trainer.judgements.cache_file import JudgedTask


def blind_pairs(
    tasks: Iterable[JudgedTask], layout: LabelingLayout, *, control: ControlGroup, prefer_ground_truth: bool = False,
    where: Sequence[Condition] = (),
) -> list[PreferencePair]:  # fmt: skip
    """All blind judgements of tasks that were served by lot, which is the control group; a tie is two halves, whatever TIES is."""
    return [
        pair
        for task in tasks
        if any(prediction.get("result") == [] for prediction in task.get("predictions") or [])  # else no judgement of it is blind
        for pair in pairs_of_task(
            task, layout, dropped=Counter(), ties="half", prefer_ground_truth=prefer_ground_truth, where=where
        )
        if pair.is_blind and pair.kind in ("vote", "tie", "both_bad") and control.has(pair.task_id, pair.question)
    ]
