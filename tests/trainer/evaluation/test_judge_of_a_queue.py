"""What the order in which tasks are served does to the accuracy that the judge measures."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.judged_queue import Order
from tests.support.judged_queue import simulated_queue
from trainer.evaluation.pair_rewards import score_pairs

NUM_PROJECTS = 20


def measured(order: Order) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(num_projects,) each: how far the accuracy on a card is above the truth, mean over rounds with a champion, and the last truth."""
    excess, truths = [], []
    for seed in range(NUM_PROJECTS):
        project = simulated_queue(800, seed=seed, order=order, agreement=1.0)
        of_project = []
        for count in (60, 160, 160):
            project.judge(count)
            verdict, version = project.round()
            assert verdict.metrics.accuracy is not None
            truth = float(score_pairs(version, project.held_out).right.mean())
            of_project.append(verdict.metrics.accuracy - truth)
        excess.append(np.mean(of_project[1:]))  # the first 60 were served in the order in which they came
        truths.append(truth)
    return np.array(excess), np.array(truths)


def test_held_out_tasks_that_are_served_hardest_first_make_a_version_look_worse_and_those_by_lot_do_not() -> None:
    """The place by lot costs the model nothing. Standard errors are .006 of both means, and .004 of the difference between the two truths."""
    (hardest_first, learnt_before), (by_lot, learnt) = measured("hardest first"), measured("uncertain")

    assert hardest_first.mean() < -0.03
    assert abs(by_lot.mean()) < 0.015
    assert abs(learnt.mean() - learnt_before.mean()) < 0.01
