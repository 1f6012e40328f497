"""In which order to judge tasks: least certain first beside random, by accuracy and by calibration on tasks that nobody selected.

The pairs are those of the accuracy benchmark (PREFERENCE_DATA). Of each source, a third of the prompts makes the test set. People judge pairs
of the others in rounds, in either order; of those that are served least certain first, a tenth is in the control group, whose place is drawn. Both
orders begin with the same pairs and are judged on the same test set. Intervals are over repeats, each with another split.
Features are kept in .cache/bench-features between runs, as nothing of their cost is measured here.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy import sources_of
from benchmarks.row import Row
from benchmarks.transfer import kept_extractor
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import quiet_transformers
from preference.reward_model.feature_extractor import FeatureExtractor
from preference.reward_model.model import RewardModel
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.figures import confidences, reliability
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

_FIRST, _A_ROUND, _MOST = 60, 40, 400  # judgements
_REPEATS, _TEST_SHARE, _CONTROL_SHARE = 8, 1 / 3, 0.1
Order = Literal["uncertain", "random"]
Array = NDArray[np.float64]


def run(console: Console) -> list[Row]:
    """Of each source: the mean difference in accuracy over the rounds, and the calibration error after the last one, in both orders."""
    sources = sources_of("order", console)
    if not sources:
        return []
    quiet_transformers()
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        extractor = kept_extractor(Path(scratch))
        for name, pairs in sources.items():
            rows += _of_source(name, pairs, extractor, console)
    return rows


def _of_source(name: str, pairs: Sequence[PreferencePair], extractor: FeatureExtractor, console: Console) -> list[Row]:
    curves: dict[Order, list[Array]] = {"uncertain": [], "random": []}
    last: dict[Order, list[tuple[Array, Array]]] = {"uncertain": [], "random": []}
    count = 0
    for seed in range(_REPEATS):
        pool, test = _split(pairs, seed)
        for order in curves:
            count, curve, outcomes = _judged_in(order, pool, test, extractor, seed=seed)
            curves[order].append(curve)
            last[order].append(outcomes)
    gains = np.array([first.mean() - other.mean() for first, other in zip(curves["uncertain"], curves["random"], strict=True)])
    error = 1.96 * float(gains.std(ddof=1)) / _REPEATS**0.5
    mean = float(gains.mean())
    console.print(f"order: {name}, {_FIRST} to {count} judgements: {mean:+.3f} ({mean - error:+.3f} to {mean + error:+.3f})")
    rows = [Row(f"accuracy, least certain first less random, {name}", mean, "", interval=(mean - error, mean + error))]
    for order, outcomes_of_splits in last.items():
        curve_ = reliability(*(np.concatenate(values) for values in zip(*outcomes_of_splits, strict=True)))
        assert curve_ is not None and curve_.calibration_error is not None and curve_.confidence is not None
        accuracy = float(np.concatenate([right for _, right in outcomes_of_splits]).mean())
        console.print(f"order: {name}, {order}: confidence {curve_.confidence:.3f}, accuracy {accuracy:.3f}")
        rows.append(
            Row(f"calibration error on unselected tasks, {order}, {name}, {count} judgements", curve_.calibration_error, "")
        )
    return rows


def _judged_in(
    order: Order, pool: Sequence[PreferencePair], test: Sequence[PreferencePair], extractor: FeatureExtractor, *, seed: int
) -> tuple[int, Array, tuple[Array, Array]]:
    """(how many were judged at last, (num_rounds,) accuracies, confidence and outcome of each test pair after the last round)."""
    chance = np.random.default_rng(seed)
    is_control = chance.uniform(size=len(pool)) < _CONTROL_SHARE
    judged, waiting, accuracies = list(range(_FIRST)), list(range(_FIRST, len(pool))), []
    most = min(_MOST, len(pool) - _A_ROUND)
    while True:
        model: RewardModel = train_head([pool[i] for i in judged], FROZEN, extractor).model
        rewards = score_pairs(model, test)
        accuracies.append(float(rewards.right.mean()))
        if len(judged) >= most:
            return len(judged), np.array(accuracies), (confidences(model, rewards), rewards.right)
        place = np.arange(len(waiting), dtype=float)
        if order == "uncertain":
            place = np.argsort(np.argsort(np.abs(score_pairs(model, [pool[i] for i in waiting]).gaps))).astype(float)
            by_lot = is_control[waiting]
            place[by_lot] = chance.uniform(0, len(waiting), int(by_lot.sum()))
        taken = {waiting[i] for i in np.argsort(place)[: min(_A_ROUND, most - len(judged))]}
        judged += [i for i in waiting if i in taken]
        waiting = [i for i in waiting if i not in taken]


def _split(pairs: Sequence[PreferencePair], seed: int) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """(the pairs that people judge, in a random order; the test set), split by prompt."""
    chance = np.random.default_rng(seed)
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    tested = {prompts[i] for i in chance.permutation(len(prompts))[: round(_TEST_SHARE * len(prompts))]}
    pool = [pair for pair in pairs if pair.prompt not in tested]
    return [pool[i] for i in chance.permutation(len(pool))], [pair for pair in pairs if pair.prompt in tested]
