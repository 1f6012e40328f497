"""Trains one challenger from pairs: a head over a frozen backbone, or a sequence classifier (trainer/training/sequence.py)."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from preference.errors import TrainingError
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import locate
from preference.reward_model.feature_extractor import Extractors
from trainer.training.recipes import Recipe
from trainer.training.trained import TrainingResult, Workspace

logger = logging.getLogger("pairloop.training")


def train_challenger(
    pairs: Sequence[PreferencePair],
    recipe: Recipe,
    folder: Path,
    *,
    base: str,
    model_dir: Path,
    extractors: Extractors,
    device: torch.device,
    seed: int,
    place: Workspace | None = None,
) -> TrainingResult:
    """A reward model trained on `pairs` and saved into the existing `folder`.

    The same pairs, recipe, seed and champion give the same weights, but for rounding: the order of a sum is the processor's.

    Without `place`, nothing is resumed and nothing starts from a champion. A warm start is for sequence recipes: the loss of
    the `frozen` one is convex, so that it has one optimum from wherever it starts.

    Raises:
        TrainingError: there is nothing to train on, the loss became no number, the model cannot be written.
        ModelError: the base cannot be loaded.
    """
    if not pairs:
        raise TrainingError("There are no training pairs.")
    if recipe.kind == "frozen":
        from trainer.training.frozen_head import feature_recipe, train_head

        features = feature_recipe(recipe, base=base, path=locate(base, model_dir))
        trained = train_head(pairs, recipe, extractors(features))
    else:
        from trainer.training.sequence import train_sequence  # TRL takes three seconds to import

        with ExitStack() as stack:
            if place is None:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                place = Workspace(scratch, scratch / "curves")
            trained = train_sequence(pairs, recipe, place, base=base, model_dir=model_dir, device=device, seed=seed)
    try:
        trained.model.save(folder)
    except Exception as error:  # tokenizers (Rust) raises a bare Exception for a full disk, safetensors one of its own
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TrainingError(f"The trained model cannot be written to {folder} ({reason}); free some space.") from error
    return trained
