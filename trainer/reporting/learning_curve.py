"""How accuracy grows with the number of judgements, if training is cheap enough to be repeated."""

import hashlib
from collections.abc import Sequence

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised
from preference.report_card.figures import CurvePoint, JudgedFigures
from preference.reward_model.feature_extractor import Extractors
from preference.reward_model.model import Description
from trainer.evaluation.intervals import wilson
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.frozen_head import train_head
from trainer.training.recipes import Recipe

_SHARES = (0.1, 0.25, 0.5, 0.75)
_LEAST = 20  # pairs that a point is trained on, and held out


def learning_curve(
    train: Sequence[PreferencePair],
    holdout: Sequence[PreferencePair],
    recipe: Recipe,
    description: Description,
    *,
    extractors: Extractors,
    metrics: JudgedFigures,
) -> tuple[CurvePoint, ...]:
    """Held-out accuracy of heads that were trained on shares of the pairs; empty for other recipes and for few pairs.

    The pairs of a share are those whose prompts have the lowest hashes, so each share holds the one before it. `metrics`: of
    the verdict on all pairs, which is the last point.
    """
    if recipe.kind != "frozen" or len(holdout) < _LEAST:
        return ()
    extractor = extractors(description.feature_recipe)
    ordered = sorted(train, key=lambda pair: hashlib.sha256(normalised(pair.prompt).encode()).digest())
    points: list[CurvePoint] = []
    for num_pairs in (round(part * len(ordered)) for part in _SHARES):
        if num_pairs >= _LEAST:
            model = train_head(ordered[:num_pairs], recipe, extractor).model
            accuracy = float(score_pairs(model, holdout).right.mean())
            points.append(CurvePoint(num_pairs, round(accuracy, 4), wilson(accuracy, len(holdout))))
    assert metrics.accuracy is not None, "measured, since there are held-out comparisons"
    return (*points, CurvePoint(len(train), metrics.accuracy, metrics.interval))
