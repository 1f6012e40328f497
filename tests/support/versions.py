"""Versions of a tiny reward model that scores the answers of a test."""

import time
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from preference.models.fingerprint import fingerprint, revision_of
from preference.models.number_formats import ComputedIn
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgedFigures
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import Description, FrozenRewardModel
from preference.reward_model.reward_head import RewardHead
from preference.reward_model.style_features import NUM_STYLE

GOOD = JudgedFigures(interval=(0.6, 0.9))  # beyond chance, so that sides are suggested


def publish_version(
    folder: ProjectFolder, base: Path | str, *, weight: float, layer_weight: float = 0, probe: dict[str, Any] | None = None,
    metrics: JudgedFigures = GOOD, newest_annotation: int | None = None, holdout_fraction: float = 1.0,
    dtype: ComputedIn = "float32",
) -> str:  # fmt: skip
    """A published, not promoted `frozen` version over `base` that prefers longer answers as strongly as `weight` says.

    `layer_weight`: how much it goes by what the base itself sees, in the number format `dtype`.
    """
    revision = revision_of(str(base))
    extractor, features = _read(str(base), revision, fingerprint(str(base), revision=revision), dtype)
    head = RewardHead(torch.zeros(extractor.size), torch.zeros(extractor.size))
    head.weight[: extractor.hidden_size] = layer_weight * torch.arange(extractor.hidden_size) / extractor.hidden_size
    head.weight[-1 - NUM_STYLE] = weight  # before its style stands log(1 + number of the answer's tokens)
    description = Description("frozen", str(base), 64, layers=(2,), revision=revision, dtype=dtype)
    model = FrozenRewardModel(description, head, extractor)
    reward = float(head.rewards(features)[0])
    card = ReportCard(
        folder.project_id, "frozen", str(base), num_train_pairs=0, promoted=True, reason="made by a test", metrics=metrics,
        holdout_fraction=holdout_fraction,
        probe={"prompt": "Why?", "answer": "Because.", "reward": reward, **(probe or {})},
        newest_annotation=newest_annotation,
    )  # fmt: skip
    draft = folder.path / "drafts" / str(time.monotonic_ns())
    draft.mkdir(parents=True)
    model.save(draft)
    return Versions(folder).publish(draft, card)


@lru_cache(maxsize=2)
def _read(base: str, revision: str, fingerprint_: str, dtype: ComputedIn) -> tuple[FeatureExtractor, torch.Tensor]:
    """An extractor over `base`, which a hundred tests share, and the features of the probe's answer."""
    with TemporaryDirectory() as scratch:
        recipe = FeatureRecipe(base, (2,), 64, revision, dtype)
        extractor = FeatureExtractor(recipe, model_dir=Path(scratch), device=torch.device("cpu"))
        return extractor, extractor.features(["Why?"], ["Because."])
