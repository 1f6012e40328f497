"""How accuracy grows with the number of judgements, where training is cheap enough to be repeated."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from preference.labelling.pairs import PreferencePair
from preference.reward_model.feature_extractor import Extractors, FeatureRecipe
from preference.reward_model.model import Description
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.report import CurvePoint
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
    metrics: Mapping[str, Any],
) -> list[CurvePoint]:
    """Held-out accuracy of heads that were trained on shares of the pairs; empty for other recipes and for few pairs.

    The pairs of a share are those whose prompts have the lowest hashes, so each share holds the one before it. `metrics`: of
    the verdict on all pairs, which is the last point.
    """
    if recipe.kind != "frozen" or len(holdout) < _LEAST:
        return []
    extractor = extractors(FeatureRecipe(description.base, description.layers, description.max_tokens))
    ordered = sorted(train, key=lambda pair: hashlib.sha256(pair.prompt.encode()).digest())
    points: list[CurvePoint] = []
    for num_pairs in (round(part * len(ordered)) for part in _SHARES):
        if num_pairs >= _LEAST:
            model = train_head(ordered[:num_pairs], recipe, extractor).model
            found = share(score_pairs(model, holdout).right)
            points.append((num_pairs, found["value"], *found["interval"]))
    return [*points, (len(train), metrics["accuracy"], *metrics["interval"])]
