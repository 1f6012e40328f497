"""Whether a challenger may be served: challenger, champion and the length rules on the same held-out pairs.

The rule, in this order:
1. fewer than MIN_HOLDOUT held-out pairs: not promoted, there is no evidence;
2. less accurate than the better of longer-wins and shorter-wins: not promoted, a rule without a model does as well;
3. less accurate than the champion on the same pairs: not promoted;
4. otherwise promoted. At equal accuracy the challenger wins: it has seen more judgements.
Not covered: whether a gain is beyond noise; the interval beside each accuracy says how much of it may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from preference.pairs import PreferencePair
from preference.reward_model import RewardModel

MIN_HOLDOUT = 8
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What the judge says, and the figures behind it."""

    promoted: bool
    reason: str
    metrics: dict[str, Any]


def judge(challenger: RewardModel, champion: RewardModel | None, holdout: Sequence[PreferencePair], *, seed: int = 0) -> Verdict:
    """The verdict on a challenger; `metrics` holds each accuracy (0..1), and the challenger's 95 % interval."""
    right = _outcomes(challenger, holdout)
    metrics: dict[str, Any] = {"num_pairs": len(holdout), "accuracy": _mean(right)}
    if len(holdout) < MIN_HOLDOUT:
        reason = f"only {len(holdout)} held-out pairs, {MIN_HOLDOUT} are needed"
        return Verdict(False, reason, metrics)
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    metrics["interval"] = [round(float(interval.low), 4), round(float(interval.high), 4)]
    lengths = np.array([[len(pair.chosen), len(pair.rejected)] for pair in holdout])
    longer = np.where(lengths[:, 0] == lengths[:, 1], 0.5, lengths[:, 0] > lengths[:, 1])
    metrics["longer_wins"], metrics["shorter_wins"] = _mean(longer), _mean(1 - longer)
    if champion is not None:
        before = _outcomes(champion, holdout)
        metrics["champion"] = _mean(before)
        metrics["gain"] = round(metrics["accuracy"] - metrics["champion"], 4)
        metrics["gain_interval"] = _gain_interval(right - before, seed=seed)
    rule = "longer" if longer.mean() >= 0.5 else "shorter"
    baseline = metrics[f"{rule}_wins"]
    if metrics["accuracy"] < baseline:
        return Verdict(False, f"accuracy {metrics['accuracy']:.3f} is below {rule}-answer-wins {baseline:.3f}", metrics)
    if champion is not None and metrics["accuracy"] < metrics["champion"]:
        return Verdict(False, f"accuracy {metrics['accuracy']:.3f} is below the champion's {metrics['champion']:.3f}", metrics)
    against = f", the champion has {metrics['champion']:.3f}" if champion is not None else ", and there was no champion"
    return Verdict(True, f"accuracy {metrics['accuracy']:.3f}, {rule}-answer-wins has {baseline:.3f}{against}", metrics)


def _outcomes(model: RewardModel, pairs: Sequence[PreferencePair]) -> Array:
    """(num_pairs,) 1.0 where the chosen answer has the higher reward, else 0.0: a tie is not right."""
    prompts = [pair.prompt for pair in pairs]
    chosen = model.score(prompts, [pair.chosen for pair in pairs])
    rejected = model.score(prompts, [pair.rejected for pair in pairs])
    return (chosen > rejected).numpy().astype(float)


def _mean(values: Array) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0


def _gain_interval(differences: Array, *, seed: int) -> list[float]:
    """The 95 % percentile bootstrap of the mean difference over the same pairs."""
    if not differences.any():
        return [0.0, 0.0]
    found = bootstrap((differences,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed))
    return [round(float(found.confidence_interval.low), 4), round(float(found.confidence_interval.high), 4)]
