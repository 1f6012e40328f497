"""Rules that know nothing of what an answer says: what a reward model must not fall behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.reward_model.style_features import NUM_STYLE, style
from trainer.evaluation.intervals import Array

_FOLDS = 5
_MOST_PAIRS = 2000  # that the style rule learns from: plenty for its two dozen weights
_INVERSE_L2 = 0.01  # best below 300 pairs of PandaLM; .003 to 1 differ by .01 on hh-rlhf above 100; 5 splits each


@dataclass(frozen=True, eq=False)
class Baseline:
    """A rule, how right it is on the training pairs, and each of its outcomes on the held-out ones."""

    name: str  # as "NAME wins" and "NAME-answer-wins" read
    train_accuracy: float  # weighted; of the style rule by cross-validation over prompts
    outcomes: Array  # (num_holdout,) 1 right, 0 wrong, .5 if it prefers neither


def baselines(train: Sequence[PreferencePair], holdout: Sequence[PreferencePair]) -> list[Baseline]:
    """`longer`, `shorter` and, if there are two training prompts, `style`: best on the training pairs first.

    Chosen on the training pairs: the best of three on the held-out pairs themselves would be the luckiest of three.
    Answers that an annotator wrote take no part in the choice: no held-out comparison has one.
    """
    judged = [pair for pair in train if pair.kind != "written"]
    weights = np.array([pair.weight for pair in judged])
    accuracy, outcomes = _mean(_outcomes(_length_gaps(judged)), weights), _outcomes(_length_gaps(holdout))
    rules = [Baseline("longer", accuracy, outcomes), Baseline("shorter", 1 - accuracy, 1 - outcomes)]
    sample = train if len(train) <= _MOST_PAIRS else [train[i] for i in np.linspace(0, len(train) - 1, _MOST_PAIRS, dtype=int)]
    prompts = [normalised(opening(pair.question)) for pair in sample]
    if len(set(prompts)) > 1:
        difference, train_weights = _difference(sample), np.array([pair.weight for pair in sample])
        crossed = np.zeros(len(sample))
        for rest, fold in GroupKFold(min(_FOLDS, len(set(prompts)))).split(difference, groups=prompts):
            crossed[fold] = difference[fold] @ _fit(difference[rest], train_weights[rest])
        is_judged = np.array([pair.kind != "written" for pair in sample])
        accuracy = _mean(_outcomes(crossed[is_judged]), train_weights[is_judged])
        gaps = _difference(holdout) @ _fit(difference, train_weights)
        rules.append(Baseline("style", accuracy, _outcomes(gaps)))
    return sorted(rules, key=lambda baseline: -baseline.train_accuracy)


def _difference(pairs: Sequence[PreferencePair]) -> Array:
    """(num_pairs, NUM_STYLE) style of the chosen answer less that of the rejected one."""
    texts = dict.fromkeys((pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected))
    known = {text: style(*text).astype(float) for text in texts}
    rows = [known[pair.prompt, pair.chosen] - known[pair.prompt, pair.rejected] for pair in pairs]
    return np.array(rows).reshape(len(rows), NUM_STYLE)


def _fit(difference: Array, weights: Array) -> Array:
    """(NUM_STYLE,) the logistic regression of "the first is better" on the differences, each taken both ways."""
    spread = np.sqrt((difference**2).mean(0))
    spread[spread == 0] = 1.0
    both = np.concatenate([difference, -difference]) / spread
    first = np.repeat([1, 0], len(difference))
    model = LogisticRegression(C=_INVERSE_L2, fit_intercept=False).fit(both, first, sample_weight=np.tile(weights, 2))
    weight: Array = model.coef_[0] / spread
    return weight


def _length_gaps(pairs: Sequence[PreferencePair]) -> Array:
    return np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=float)


def _outcomes(gaps: Array) -> Array:
    outcomes: Array = 0.5 + np.sign(gaps) / 2
    return outcomes


def _mean(outcomes: Array, weights: Array) -> float:
    return float((outcomes * weights).sum() / weights.sum()) if weights.sum() > 0 else 0.5
