"""In which order to judge tasks: what the versions learn, how far their cards are from the truth, and how right their confidence is.

The pairs are those of the accuracy benchmark (PREFERENCE_DATA), and as a third source their texts, judged by the demo's rule with one vote in
seven at random: no people, and no order was chosen by it. Each makes the tasks of a project (judged_queue.py). A third of the prompts is held
out. People judge tasks in rounds, in one order or another; each round trains a challenger, which the judge compares with the champion. The
truth is the accuracy on all held-out pairs, which nobody selected: it is what the versions are compared by, what the accuracy on a card is
held against, and where the calibration error is measured. All orders begin with the same tasks. Intervals are over repeats, each with other prompts
held out. Features are kept in .cache/bench-features between runs, as nothing of their cost is measured here.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy import sources_of
from benchmarks.judged_queue import JudgedQueue, Order
from benchmarks.kept_features import kept_extractor
from benchmarks.row import Row
from demo.annotator import choose
from preference.labelling.holdout import MIN_HOLDOUT
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import quiet_transformers
from preference.reward_model.feature_extractor import FeatureExtractor
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.figures import confidences, reliability

_A_ROUND, _MOST = 60, 600  # judgements, of which a third is of held-out prompts
_REPEATS, _HELD_OUT = 24, 1 / 3
_AT_RANDOM = 1 / 7  # of the votes by a rule
_ORDERS: tuple[Order, ...] = ("hardest first", "uncertain", "random", "diverse")
_COMPARED: tuple[tuple[Order, Order], ...] = (("uncertain", "hardest first"), ("uncertain", "random"), ("diverse", "random"), ("diverse", "uncertain"))  # fmt: skip
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Project:
    """What one project's rounds measured."""

    truths: Array  # (num_rounds,) accuracy of each challenger on all held-out pairs
    excess: float  # by how much the accuracy on a card is above that, the mean over rounds
    confidence: Array  # (num_held_out,) of the last challenger, in the side that it prefers
    right: Array  # (num_held_out,)
    num_trained_on: int  # by the last


def run(console: Console) -> list[Row]:
    """For each source: accuracy of an order less that of another, the cards' error, and the calibration error after the last round."""
    sources = sources_of("order", console)
    if not sources:
        return []
    quiet_transformers()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        extractor = kept_extractor(Path(scratch))
        for name, pairs in {**sources, "the demo's rule": _by_rule([pair for some in sources.values() for pair in some])}.items():
            for row in _of_source(name, pairs, extractor):
                low, high = row.interval or (np.nan, np.nan)
                console.print(f"order: {row.name}: {row.value:+.3f} ({low:+.3f} to {high:+.3f})")
                rows.append(row)
    return rows


def _of_source(name: str, pairs: Sequence[PreferencePair], extractor: FeatureExtractor) -> list[Row]:
    projects = {order: [_project(pairs, extractor, order=order, seed=seed) for seed in range(_REPEATS)] for order in _ORDERS}
    accuracy = {order: np.array([project.truths.mean() for project in projects[order]]) for order in _ORDERS}
    count = round(float(np.mean([project.num_trained_on for project in projects["uncertain"]])))
    rows = [_row(f"accuracy, mean over rounds, {order}, {name}", accuracy[order]) for order in _ORDERS]
    rows += [_row(f"accuracy, {order} less {other}, {name}", accuracy[order] - accuracy[other]) for order, other in _COMPARED]
    rows += [
        _row(f"a card's accuracy less the truth, {order}, {name}", np.array([project.excess for project in projects[order]]))
        for order in _ORDERS
    ]
    for order in _ORDERS:
        sure = np.array([(project.confidence - project.right).mean() for project in projects[order]])
        rows += [
            _calibration_error(
                f"calibration error on unselected tasks, {order}, {name}, {count} pairs trained on", projects[order]
            ),
            _row(f"confidence less accuracy, {order}, {name}", sure),
        ]
    return rows


def _project(pairs: Sequence[PreferencePair], extractor: FeatureExtractor, *, order: Order, seed: int) -> _Project:
    queue = JudgedQueue(pairs, extractor, seed=seed, order=order, fraction=_HELD_OUT)
    held_out, truths, excess, num_judged = queue.held_out, [], [], 0
    most = min(_MOST, len(pairs) - _A_ROUND)  # the last tasks are the same in every order
    while num_judged < most:
        count = min(_A_ROUND, most - num_judged)
        queue.judge(count)
        num_judged += count
        verdict, version = queue.round()
        rewards = score_pairs(version, held_out)
        truths.append(float(rewards.right.mean()))
        if verdict.metrics.accuracy is not None and (verdict.metrics.num_pairs or 0) >= MIN_HOLDOUT:
            excess.append(verdict.metrics.accuracy - truths[-1])
    return _Project(
        np.array(truths),
        float(np.mean(excess)),
        confidences(version, rewards),
        rewards.right,
        len(queue.holdout.split(queue.judged)[0]),
    )


def _row(name: str, values: Array) -> Row:
    """Their mean; `values`: (num_repeats,)."""
    mean, error = float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return Row(name, mean, "", interval=(mean - error, mean + error))


def _calibration_error(name: str, projects: Sequence[_Project]) -> Row:
    """Of the held-out pairs of all repeats together, since one repeat's bins hold too few. The interval draws repeats anew."""

    def error(drawn: Sequence[int] | NDArray[np.int64]) -> float:
        curve = reliability(
            np.concatenate([projects[i].confidence for i in drawn]), np.concatenate([projects[i].right for i in drawn])
        )
        assert curve is not None and curve.calibration_error is not None
        return curve.calibration_error

    chance = np.random.default_rng(0)
    errors = [error(chance.integers(len(projects), size=len(projects))) for _ in range(200)]
    low, high = np.quantile(errors, (0.025, 0.975))
    return Row(name, error(range(len(projects))), "", interval=(float(low), float(high)))


def _by_rule(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pairs on which the demo's rule says something, with its votes; some are drawn."""
    chance, judged = np.random.default_rng(0), []
    for pair in pairs:
        side = choose(pair.chosen, pair.rejected)
        if side is None:
            continue
        is_drawn, is_first = chance.uniform() < _AT_RANDOM, chance.uniform() < 0.5
        if is_first if is_drawn else side == "left":
            judged.append(pair)
        else:
            judged.append(replace(pair, chosen=pair.rejected, rejected=pair.chosen))
    return judged
