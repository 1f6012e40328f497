"""What the order in which tasks are served does to the accuracy that the judge measures."""

import numpy as np
from numpy.typing import NDArray

from tests.support.judged_queue import JudgedQueue

NUM_PROJECTS = 20


def measured(*, is_by_lot: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(num_projects,) each: by how much a version's accuracy is above the truth when a part of the tasks is judged, and the truth."""
    projects = [JudgedQueue(800, seed=seed, is_by_lot=is_by_lot) for seed in range(NUM_PROJECTS)]
    excess, truths = [], []
    for project in projects:
        for count in (60, 120, 120):
            project.judge(count)
            verdict, truth = project.round()
        assert verdict.metrics.accuracy is not None
        excess.append(verdict.metrics.accuracy - truth)
        truths.append(truth)
    return np.array(excess), np.array(truths)


def test_held_out_tasks_that_are_served_hardest_first_make_a_version_look_worse_and_those_by_lot_do_not() -> None:
    """The place by lot costs the model nothing."""
    (hardest_first, learnt_before), (by_lot, learnt) = measured(is_by_lot=False), measured(is_by_lot=True)

    assert hardest_first.mean() < -0.04
    assert abs(by_lot.mean()) < 0.015
    assert abs(learnt.mean() - learnt_before.mean()) < 0.01
