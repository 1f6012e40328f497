"""How accuracy grows with the number of judgements, if training is cheap enough to be repeated."""

from collections.abc import Sequence

from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import CurvePoint, JudgedFigures
from preference.report_card.shares import wilson
from trainer.evaluation.pair_rewards import once_each, score_pairs
from trainer.training.trained import TrainingResult

_LEAST = 20  # pairs that a point is trained on, and held out


def learning_curve(
    trained: TrainingResult, holdout: Sequence[PreferencePair], *, num_pairs: int, metrics: JudgedFigures
) -> tuple[CurvePoint, ...]:
    """Held-out accuracy of the models of shares of the pairs; empty for other recipes and for few pairs.

    `metrics`: of the verdict on all `num_pairs` pairs, which is the last point.
    """
    points: list[CurvePoint] = []
    if min(len(holdout), metrics.num_pairs or len(holdout)) < _LEAST:
        return ()
    for count, model in trained.smaller:
        if count >= _LEAST:
            right = once_each(score_pairs(model, holdout).right, holdout)
            accuracy = float(right.mean())
            points.append(CurvePoint(count, round(accuracy, 4), wilson(accuracy, len(right))))
    if not trained.smaller:
        return ()
    assert metrics.accuracy is not None, "measured, since there are held-out comparisons"
    return (*points, CurvePoint(num_pairs, metrics.accuracy, metrics.interval))
