from pathlib import Path

import torch

from preference.report_card.figures import CurvePoint, JudgedFigures
from preference.reward_model.feature_extractor import Extractors, FeatureRecipe
from tests.support.separable_pairs import separable_pairs
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.learning_curve import learning_curve
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN, LORA


def test_a_curve_has_a_point_for_each_share_and_ends_with_the_challenger(tiny_base: Path, tmp_path: Path) -> None:
    train, holdout = separable_pairs(100), separable_pairs(30, start=100)
    extractors = Extractors(tmp_path, torch.device("cpu"))
    model = train_head(train, FROZEN, extractors(FeatureRecipe(str(tiny_base), (2,), 64))).model
    accuracy = share(score_pairs(model, holdout).right)
    metrics = JudgedFigures(accuracy=accuracy.value, interval=accuracy.interval)

    curve = learning_curve(train, holdout, FROZEN, model.description, extractors=extractors, metrics=metrics)

    assert [point.num_pairs for point in curve] == [25, 50, 75, 100], "a tenth would be fewer than twenty pairs"
    assert curve[-1] == CurvePoint(100, accuracy.value or 0.0, accuracy.interval)
    for point in curve:
        low, high = point.interval or (1, 0)
        assert 0 <= low <= point.accuracy <= high <= 1
    again = learning_curve(train[::-1], holdout, FROZEN, model.description, extractors=extractors, metrics=metrics)
    assert [point.accuracy for point in again] == [point.accuracy for point in curve], "the same pairs, in whichever order"


def test_there_is_no_curve_if_training_is_dear_or_little_is_held_out(tiny_base: Path, tmp_path: Path) -> None:
    train, extractors = separable_pairs(100), Extractors(tmp_path, torch.device("cpu"))
    model = train_head(train, FROZEN, extractors(FeatureRecipe(str(tiny_base), (2,), 64))).model
    metrics = JudgedFigures(accuracy=1.0, interval=(0.9, 1.0))

    def curve(recipe: object, num_held_out: int) -> object:
        holdout = separable_pairs(num_held_out, start=100)
        return learning_curve(train, holdout, recipe, model.description, extractors=extractors, metrics=metrics)  # type: ignore[arg-type]

    assert curve(LORA, 30) == ()
    assert curve(FROZEN, 19) == ()
    assert curve(FROZEN, 20) != ()
