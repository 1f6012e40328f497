"""A card with nothing on it that a test could come to rely on."""

from preference.report_card.card import ModelCard

CARD = ModelCard(
    project_id=1, recipe="frozen", base="embedded", num_annotations=0, num_train_pairs=1, num_holdout_pairs=0, dropped={},
    metrics={}, promoted=False, reason="", probe={}, seed=0, seconds={},
)  # fmt: skip
