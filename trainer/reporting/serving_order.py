"""Which held-out comparisons were served because a version was unsure of them: earlier builds served all tasks so, and these are the hard ones."""

from collections.abc import Sequence

import numpy as np

from preference.labelling.control_group import ControlGroup
from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import ServingOrder
from trainer.evaluation.intervals import Array, share
from trainer.evaluation.pair_rewards import once_each
from trainer.reporting.figures import AT_LEAST


def serving_order(holdout: Sequence[PreferencePair], right: Array, *, control: ControlGroup | None = None) -> ServingOrder | None:
    """How many comparisons were served least confident first, and how right the model is on the others; None if there are none.

    `right`: of each of `holdout`. A task that showed nothing, and is no control task, had rewards that are hidden. Whether it got its
    place by lot is known from others of its version.
    """
    by_lot = {pair.suggested_version for pair in holdout if pair.suggested_confidence is not None and not pair.is_by_confidence}

    def is_by_confidence(pair: PreferencePair) -> bool:
        if not pair.is_blind or control is None:
            return pair.is_by_confidence
        return not control.has(pair.task_id, pair.question) and pair.suggested_version not in by_lot

    rows = np.array([is_by_confidence(pair) for pair in holdout], bool)
    if not rows.any():
        return None
    others = [pair for pair, is_in in zip(holdout, rows, strict=True) if not is_in]
    return ServingOrder(
        num_by_confidence=len(once_each(right, holdout)) - len(once_each(right[~rows], others)),
        by_lot=share(once_each(right[~rows], others), at_least=AT_LEAST),
    )
