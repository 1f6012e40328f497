from dataclasses import replace
from pathlib import Path

import torch

from preference.report_card.figures import CurvePoint, JudgedFigures
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from tests.support.separable_pairs import separable_pairs
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.learning_curve import learning_curve
from trainer.training.frozen_head import CURVE_SHARES, train_head
from trainer.training.recipes import FROZEN


def test_a_curve_has_a_point_for_each_share_and_ends_with_the_challenger(tiny_base: Path, tmp_path: Path) -> None:
    train, holdout = separable_pairs(100), separable_pairs(30, start=100)
    extractor = Extractors(tmp_path, torch.device("cpu"))(FeatureRecipe(str(tiny_base), (2,), 64))
    trained = train_head(train, FROZEN, extractor, shares=CURVE_SHARES)
    accuracy = share(score_pairs(trained.model, holdout).right)
    metrics = JudgedFigures(accuracy=accuracy.value, interval=accuracy.interval)

    curve = learning_curve(trained, holdout, num_pairs=100, metrics=metrics)

    assert [point.num_pairs for point in curve] == [25, 50, 75, 100], "a tenth would be fewer than twenty pairs"
    assert curve[-1] == CurvePoint(100, accuracy.value or 0.0, accuracy.interval)
    for point in curve:
        low, high = point.interval or (1, 0)
        assert 0 <= low <= point.accuracy <= high <= 1
    turned_round = train_head(train[::-1], FROZEN, extractor, shares=CURVE_SHARES)
    again = learning_curve(turned_round, holdout, num_pairs=100, metrics=metrics)
    assert [point.accuracy for point in again] == [point.accuracy for point in curve], "the same pairs, in whichever order"


def test_there_is_no_curve_if_training_is_dear_or_little_is_held_out(tiny_base: Path, tmp_path: Path) -> None:
    extractor = Extractors(tmp_path, torch.device("cpu"))(FeatureRecipe(str(tiny_base), (2,), 64))
    trained = train_head(separable_pairs(100), FROZEN, extractor, shares=CURVE_SHARES)
    metrics = JudgedFigures(accuracy=1.0, interval=(0.9, 1.0))

    def curve(num_held_out: int, *, is_dear: bool = False) -> object:
        holdout = separable_pairs(num_held_out, start=100)
        return learning_curve(replace(trained, smaller=()) if is_dear else trained, holdout, num_pairs=100, metrics=metrics)

    assert curve(30, is_dear=True) == ()
    assert curve(19) == ()
    assert curve(20) != ()
