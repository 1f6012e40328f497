"""Whether a challenger may be served: challenger, champion and rules without a model, on the same held-out comparisons.

The rule, in this order; "beyond noise" is the exact one-sided McNemar test on the same pairs with p < .05:
1. a reward that is no number, or one reward for all answers: kept back;
2. fewer than MIN_HOLDOUT held-out comparisons: kept back, there is no evidence;
3. less accurate than the better of longer-wins and shorter-wins: kept back, a rule without a model does as well. The same
   for style-only where it is the best of the three, unless the challenger is below it within noise only, and above one half
   beyond noise (its 95 % interval). Which rule is best is learnt on the training pairs;
4. less accurate than the champion beyond noise: kept back. Less accurate within noise: promoted if it trained on at least
   a tenth more judgements, of which more are better on average, and if MAX_OWED is not passed; otherwise kept back;
5. as accurate as the champion: promoted if it trained on more judgements; more accurate: promoted.

Style-only is a model itself, trained on the same pairs. Where annotators do go by style both are right nine times in ten, and
thirty comparisons do not tell them apart: to be one pair below must not keep back what clearly knows something.

Many rounds, each a little worse within noise, cannot walk downwards: what each gives away is added up in `metrics["owed"]`,
gains pay it back, and no promotion lets it pass MAX_OWED. So the sum of all measured gains is never further than MAX_OWED
below the highest that it ever was.
Not covered: champions that were promoted by hand; each starts from what its own card says is owed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from preference.labelling.pairs import PreferencePair, num_votes
from preference.reward_model.model import RewardModel
from trainer.evaluation.baselines import Baseline, baselines
from trainer.evaluation.intervals import compare, share
from trainer.evaluation.pair_rewards import Rewards, score_pairs

MIN_HOLDOUT = 8
MAX_OWED = 0.05  # of accuracy
_NOISE = 0.05  # a p-value below it is no noise
_GROWTH = 1.1
_KEYS = {"longer": "longer_wins", "shorter": "shorter_wins", "style": "style_only"}


@dataclass(frozen=True)
class Verdict:
    """What the judge says, and the figures behind it."""

    promoted: bool
    reason: str
    metrics: dict[str, Any]
    rewards: Rewards | None = field(default=None, repr=False, compare=False)  # the challenger's, of the held-out pairs
    champion_rewards: Rewards | None = field(default=None, repr=False, compare=False)


def judge(
    challenger: RewardModel,
    champion: RewardModel | None,
    holdout: Sequence[PreferencePair],
    *,
    train: Sequence[PreferencePair],
    num_train_before: int | None,
    owed: float = 0.0,
    seed: int = 0,
) -> Verdict:
    """The verdict on a challenger that was trained on `train`.

    `holdout`: one pair for each comparison. `num_train_before`, `owed`: of the champion's card, its num_train_pairs (None
    where it is not known; then the data counts as grown) and metrics["owed"]. `metrics`: accuracies in 0..1 and what
    intervals.compare says of the champion and of each baseline.
    """
    rewards = score_pairs(challenger, holdout)
    before = score_pairs(champion, holdout) if champion is not None else None
    metrics, rules = _measure(rewards, before, train, holdout, seed=seed)
    refusal = _unfit(rewards) or _no_evidence(holdout) or _below_baselines(metrics, rules)
    if refusal:
        promoted, reason = False, refusal
    elif before is None:
        promoted, reason = True, f"{_beside_baseline(metrics, rules)}, and there was no champion"
    else:
        now_owed = round(max(0.0, owed - metrics["gain"]), 4)
        promoted, reason = _against_champion(metrics, rules, num_votes(train), num_train_before or 0, now_owed)
        if promoted:
            metrics["owed"] = now_owed
    return Verdict(promoted, reason, metrics, rewards, before)


def _measure(
    rewards: Rewards, before: Rewards | None, train: Sequence[PreferencePair], holdout: Sequence[PreferencePair], *, seed: int
) -> tuple[dict[str, Any], list[Baseline]]:
    accuracy = share(rewards.right)
    metrics: dict[str, Any] = {"num_pairs": len(holdout), "accuracy": accuracy["value"], "interval": accuracy["interval"]}
    if not holdout:
        return metrics, []
    rules = baselines(train, holdout)
    metrics["baseline"] = rules[0].name
    metrics["baselines"] = {
        rule.name: {
            **share(rule.outcomes),
            "train_accuracy": round(rule.train_accuracy, 4),
            **compare(rewards.right, rule.outcomes, seed=seed),
        }
        for rule in rules
    }
    metrics |= {_KEYS[name]: figures["value"] for name, figures in metrics["baselines"].items()}
    if before is not None:
        metrics["champion"] = share(before.right)["value"]
        metrics |= compare(rewards.right, before.right, seed=seed)
    return metrics, rules


def _unfit(rewards: Rewards) -> str:
    num_broken = int((~np.isfinite(rewards.chosen)).sum() + (~np.isfinite(rewards.rejected)).sum())
    if num_broken:
        return f"{num_broken} of {2 * len(rewards.gaps)} held-out answers have a reward that is no number (NaN or infinite)"
    if len(rewards.gaps) >= MIN_HOLDOUT and not rewards.gaps.any():
        return "it gives both answers the same reward in every held-out pair"
    return ""


def _no_evidence(holdout: Sequence[PreferencePair]) -> str:
    return f"only {len(holdout)} held-out pairs, {MIN_HOLDOUT} are needed" if len(holdout) < MIN_HOLDOUT else ""


def _below_baselines(metrics: dict[str, Any], rules: Sequence[Baseline]) -> str:
    length = _length_rule(rules)
    bar = metrics["baselines"][length]["value"]
    if metrics["accuracy"] < bar:
        return f"accuracy {metrics['accuracy']:.3f} is below {length}-answer-wins {bar:.3f}"
    style, (low, high) = metrics["baselines"].get("style"), metrics["interval"]
    if metrics["baseline"] != "style" or metrics["accuracy"] >= style["value"]:
        return ""
    below = f"accuracy {metrics['accuracy']:.3f} is below style-only {style['value']:.3f}"
    if style["p_worse"] < _NOISE:
        return f"{below} beyond noise (p {style['p_worse']:.2g})"
    return f"{below}, and may be no better than a coin (95 % interval {low:.3f} to {high:.3f})" if low <= 0.5 else ""


def _length_rule(rules: Sequence[Baseline]) -> str:
    return next(rule.name for rule in rules if rule.name != "style")


def _beside_baseline(metrics: dict[str, Any], rules: Sequence[Baseline]) -> str:
    length = _length_rule(rules)
    return f"accuracy {metrics['accuracy']:.3f}, {length}-answer-wins has {metrics[_KEYS[length]]:.3f}"


def _against_champion(
    metrics: dict[str, Any], rules: Sequence[Baseline], num_train: int, num_train_before: int, owed: float
) -> tuple[bool, str]:
    """Whether it is promoted, and why."""
    accuracy, champion, p_worse = metrics["accuracy"], metrics["champion"], metrics["p_worse"]
    below = f"accuracy {accuracy:.3f} is below the champion's {champion:.3f}"
    if metrics["gain"] < 0 and p_worse < _NOISE:
        return False, f"{below} beyond noise (p {p_worse:.2g})"
    if metrics["gain"] < 0:
        grown = f"{num_train} training pairs against its {num_train_before}"
        if num_train < _GROWTH * num_train_before:
            return False, f"{below} within noise (p {p_worse:.2g}), and {grown} are not a tenth more"
        if owed > MAX_OWED:
            return (
                False,
                f"{below} within noise (p {p_worse:.2g}), but {owed:.3f} would be given away in all since the best version",
            )
        return True, f"{below} within noise (p {p_worse:.2g}), with {grown}"
    if metrics["gain"] == 0 and num_train <= num_train_before:
        return False, f"accuracy {accuracy:.3f} is the champion's, and it trained on no more pairs ({num_train})"
    return True, f"{_beside_baseline(metrics, rules)}, the champion has {champion:.3f}"
