"""Report cards: an empty one, one with figures, and the figures of a report."""

from typing import Any

from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgedFigures

# Nothing on it that a test could rely on.
EMPTY_CARD = ReportCard(
    project_id=1, recipe="frozen", base="embedded", num_train_pairs=1, num_holdout_pairs=0, promoted=False, seed=0,
)  # fmt: skip


CARD = ReportCard(
    project_id=3, recipe="frozen", base="embedded", num_annotations=60, num_train_pairs=48, num_holdout_pairs=12,
    metrics=JudgedFigures(accuracy=0.75, interval=(0.6, 0.9), longer_wins=0.5, shorter_wins=0.5, style_only=0.6),
    promoted=True, reason="it was good", seed=1, version="v1-20261101-000000",
    created_at="2026-11-01T00:00:00+00:00",
)  # fmt: skip


SHARE = {"value": 0.7, "interval": [0.6, 0.8], "count": 50}
VERSION = {
    "version": "v1-20261101-000000", "created_at": "2026-11-01", "promoted": True, "num_train_pairs": 30, "accuracy": 0.6,
    "interval": [0.5, 0.7], "longer_wins": 0.55, "shorter_wins": 0.45, "style_only": 0.5, "prequential": SHARE,
}  # fmt: skip


REPORT: dict[str, Any] = {
    "people": {"agreement": SHARE},
    "reliability": {"calibration_error": 0.05, "bins": [{"confidence": c, **SHARE} for c in (0.55, 0.7, 0.9)]},
    "length": {"spearman": 0.2, "spearman_within": None, "points": [[10, 0.5, 1], [1000, -0.5, 0]]},
    "learning_curve": [{"num_pairs": n, "accuracy": 0.6, "interval": [0.5, 0.7]} for n in (30, 60)],
    "versions": [VERSION, {**VERSION, "version": "v2-20261102-000000", "promoted": False}],
}
