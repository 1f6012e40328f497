"""Whether a challenger may be served: challenger, champion and rules without a model, on the same held-out comparisons.

The rule, in this order; "beyond noise" is the exact one-sided McNemar test on the same pairs with p < .05:
1. a reward that is no number, or one reward for all answers: kept back;
2. fewer than MIN_HOLDOUT held-out comparisons: kept back, there is no evidence. All pairs of a prompt that was ranked are one;
3. less accurate than the better of longer-wins and shorter-wins: kept back, a rule without a model does as well. The same
   for style-only if it is the best of the three, unless the challenger is below it within noise only, and above one half
   beyond noise (its 95 % interval). Which rule is best is learnt on the training pairs;
4. less accurate than the champion beyond noise: kept back. Less accurate within noise: promoted if it trained on at least
   a tenth more judgements, of which more are better on average, and if MAX_DEBT is not passed; otherwise kept back;
5. as accurate as the champion: promoted if it trained on more judgements; more accurate: promoted.

Style-only is a model itself, trained on the same pairs. If annotators go by style, both are right nine times in ten, and
thirty comparisons do not tell them apart: to be one pair below must not keep back what clearly knows something.

Votes that were cast beside the champion's own suggestion favour it. The gain and the test are corrected for how far suggestions move people,
if that is measured (trainer/evaluation/pull.py).

Many rounds, each a little worse within noise, cannot walk downwards: what each gives away is added up as `accuracy_debt`,
gains pay it back, and no promotion lets it pass MAX_DEBT. So the sum of all measured gains is never further than MAX_DEBT
below the highest that it ever was.
Not covered: champions that were promoted by hand; each starts from the debt on its own card.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from preference.labelling.holdout import MIN_HOLDOUT
from preference.labelling.pairs import PreferencePair, num_votes
from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgedFigures, RuleFigures
from preference.reward_model.model import RewardModel
from trainer.evaluation.baselines import baselines
from trainer.evaluation.intervals import compare, share
from trainer.evaluation.pair_rewards import Rewards, once_each, score_pairs
from trainer.evaluation.pull import Pull

MAX_DEBT = 0.05  # of accuracy
_NOISE = 0.05  # a p-value below it is no noise
_GROWTH = 1.1


@dataclass(frozen=True, eq=False)
class LoadedChampion:
    """What a challenger is judged beside: the version that is served."""

    model: RewardModel
    card: ReportCard | None  # None if it is damaged

    @property
    def num_train_pairs(self) -> int:
        """What it trained on; 0 if that is not known, so that a challenger's data count as grown."""
        return (self.card.num_train_pairs if self.card else None) or 0

    @property
    def accuracy_debt(self) -> float:
        """The accuracy that promotions within noise gave away since the best version."""
        return self.card.metrics.accuracy_debt if self.card else 0.0


@dataclass(frozen=True)
class Verdict:
    """What the judge says, and the figures behind it."""

    promoted: bool
    reason: str
    metrics: JudgedFigures
    rewards: Rewards | None = field(default=None, repr=False, compare=False)  # the challenger's, of the held-out pairs
    champion_rewards: Rewards | None = field(default=None, repr=False, compare=False)


def judge(
    challenger: RewardModel,
    champion: LoadedChampion | None,
    holdout: Sequence[PreferencePair],
    *,
    train: Sequence[PreferencePair],
    pull: Pull | None = None,
    seed: int = 0,
) -> Verdict:
    """The verdict on a challenger that was trained on `train`. `holdout`: one pair for each comparison; `pull`: the champion's."""
    rewards = score_pairs(challenger, holdout)
    before = score_pairs(champion.model, holdout) if champion is not None else None
    metrics = _measure(rewards, before, train, holdout, pull=pull, seed=seed)
    refusal = _unfit(rewards) or _no_evidence(metrics.num_pairs or 0) or _below_baselines(metrics)
    if refusal:
        promoted, reason = False, refusal
    elif champion is None:
        promoted, reason = True, f"{_beside_baseline(metrics)}, and there was no champion"
    else:
        debt = round(max(0.0, champion.accuracy_debt - _known(metrics.gain)), 4)
        promoted, reason = _against_champion(metrics, num_votes(train), champion.num_train_pairs, debt)
        if promoted:
            metrics = replace(metrics, accuracy_debt=debt)
    return Verdict(promoted, reason, metrics, rewards, before)


def _measure(
    rewards: Rewards, before: Rewards | None, train: Sequence[PreferencePair], holdout: Sequence[PreferencePair], *,
    pull: Pull | None, seed: int,
) -> JudgedFigures:  # fmt: skip
    """The accuracies, and the comparisons with the champion and with each rule, that which is best in training first."""
    right = once_each(rewards.right, holdout)
    accuracy = share(right)
    measured = JudgedFigures(num_pairs=len(right), accuracy=accuracy.value, interval=accuracy.interval)
    if not holdout:
        return measured
    rules = baselines(train, holdout)
    outcomes = {rule.name: once_each(rule.outcomes, holdout) for rule in rules}
    figures = {
        rule.name: RuleFigures(
            **vars(share(outcomes[rule.name])),
            **vars(compare(right, outcomes[rule.name], seed=seed)),
            train_accuracy=round(rule.train_accuracy, 4),
        )
        for rule in rules
    }
    measured = replace(
        measured,
        baseline=rules[0].name,
        baselines=figures,
        longer_wins=figures["longer"].value,
        shorter_wins=figures["shorter"].value,
        style_only=figures["style"].value if "style" in figures else None,
    )
    if before is None:
        return measured
    right_before = once_each(before.right, holdout)
    is_beside = once_each(pull.is_beside.astype(float), holdout) > 0 if pull is not None else None
    known = pull.share if pull is not None else None
    comparison = compare(right, right_before, seed=seed, is_pulled=is_beside, pull=known or 0.0)
    measured = replace(measured, champion=share(right_before).value, **vars(comparison))
    return measured if is_beside is None else replace(measured, num_beside=int(is_beside.sum()), pull=known)


def _unfit(rewards: Rewards) -> str:
    num_broken = int((~np.isfinite(rewards.chosen)).sum() + (~np.isfinite(rewards.rejected)).sum())
    if num_broken:
        return f"{num_broken} of {2 * len(rewards.gaps)} held-out answers have a reward that is no number (NaN or infinite)"
    if len(rewards.gaps) >= MIN_HOLDOUT and not rewards.gaps.any():
        return "it gives both answers the same reward in every held-out pair"
    return ""


def _no_evidence(num_comparisons: int) -> str:
    return f"only {num_comparisons} held-out pairs, {MIN_HOLDOUT} are needed" if num_comparisons < MIN_HOLDOUT else ""


def _below_baselines(metrics: JudgedFigures) -> str:
    length, accuracy = _length_rule(metrics), _known(metrics.accuracy)
    bar = _known(metrics.baselines[length].value)
    if accuracy < bar:
        return f"accuracy {accuracy:.3f} is below {length}-answer-wins {bar:.3f}"
    if metrics.baseline != "style" or accuracy >= _known(metrics.baselines["style"].value):
        return ""
    style, (low, high) = metrics.baselines["style"], metrics.interval or (0, 1)
    below = f"accuracy {accuracy:.3f} is below style-only {style.value:.3f}"
    if _known(style.p_worse) < _NOISE:
        return f"{below} beyond noise (p {style.p_worse:.2g})"
    return f"{below}, and may be no better than a coin (95 % interval {low:.3f} to {high:.3f})" if low <= 0.5 else ""


def _length_rule(metrics: JudgedFigures) -> str:
    """The rule by length that is better on the training pairs."""
    return next(name for name in metrics.baselines if name != "style")


def _beside_baseline(metrics: JudgedFigures) -> str:
    length = _length_rule(metrics)
    return f"accuracy {metrics.accuracy:.3f}, {length}-answer-wins has {metrics.baselines[length].value:.3f}"


def _against_champion(metrics: JudgedFigures, num_train: int, num_train_before: int, debt: float) -> tuple[bool, str]:
    """Whether it is promoted, and why."""
    gain, p_worse = _known(metrics.gain), _known(metrics.p_worse)
    below = f"accuracy {metrics.accuracy:.3f} is below the champion's {_champion(metrics)}"
    within = f"{below} within noise (p {p_worse:.2g})"
    if gain < 0 and p_worse < _NOISE:
        return False, f"{below} beyond noise (p {p_worse:.2g})"
    if gain < 0:
        grown = f"{num_train} training pairs against its {num_train_before}"
        if num_train < _GROWTH * num_train_before:
            return False, f"{within}, and {grown} are not a tenth more"
        if debt > MAX_DEBT:
            return False, f"{within}, but {debt:.3f} would be given away in all since the best version"
        return True, f"{within}, with {grown}"
    if gain == 0 and num_train <= num_train_before:
        return False, f"accuracy {metrics.accuracy:.3f} is the champion's, and it trained on no more pairs ({num_train})"
    return True, f"{_beside_baseline(metrics)}, the champion has {_champion(metrics)}"


def _champion(metrics: JudgedFigures) -> str:
    """The champion's accuracy, without what its own suggestions add to it."""
    without = _known(metrics.accuracy) - _known(metrics.gain)
    measured = f"{metrics.champion:.3f}"
    if not metrics.pull or not metrics.num_beside or f"{without:.3f}" == measured:
        return measured
    return f"{without:.3f} without the pull of its own suggestions ({measured} with it)"


def _known(value: float | None) -> float:
    assert value is not None, "measured if there are held-out comparisons"
    return value
