"""Trains one challenger from pairs: a head over a frozen backbone, or a sequence classifier (trainer/training/sequence.py)."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from preference.errors import TrainingError
from preference.heavy_imports import heavy_imports
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import locate
from trainer.training.recipes import Recipe
from trainer.training.trained import TrainingContext, TrainingResult, Workspace

logger = logging.getLogger("pairloop.training")


def train_challenger(
    pairs: Sequence[PreferencePair],
    recipe: Recipe,
    folder: Path,
    context: TrainingContext,
    workspace: Workspace | None = None,
) -> TrainingResult:
    """A reward model trained on `pairs` and saved into the existing `folder`.

    The same pairs, recipe, seed and champion give the same weights, but for rounding: the order of a sum is the processor's.

    Without a workspace, nothing is resumed and nothing starts from a champion. A warm start is for sequence recipes: the loss of
    the `frozen` one is convex, so that it has one optimum from wherever it starts.

    Raises:
        TrainingError: there is nothing to train on, the loss became no number, the model cannot be written.
        ModelError: the base cannot be loaded.
    """
    if not pairs:
        raise TrainingError("There are no training pairs.")
    if not any(pair.training_weight for pair in pairs):
        raise TrainingError("ANNOTATOR_WEIGHTS leaves no vote to train on; give somebody who judged a weight above 0.")
    if recipe.kind == "frozen":
        from trainer.training.frozen_head import CURVE_SHARES, feature_recipe, train_head

        path = locate(context.base, context.extractors.model_dir)
        features = feature_recipe(recipe, base=context.base, path=path)
        earlier = context.earlier
        if earlier is not None and earlier.features != features:
            logger.warning("nothing is learnt from %s: it reads other features of the base than this build", earlier.name)
            earlier = None
        trained = train_head(
            pairs, recipe, context.extractors(features), shares=CURVE_SHARES, earlier=earlier.weight if earlier else None
        )
        trained = replace(trained, learnt_from=earlier.name if earlier else "")
    else:
        with heavy_imports():
            from trainer.training.sequence import train_sequence  # TRL takes three seconds to import

        with ExitStack() as stack:
            if workspace is None:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                workspace = Workspace(scratch, scratch / "curves")
            counting = [pair for pair in pairs if pair.training_weight]
            trained = train_sequence(counting, recipe, context, workspace)
    try:
        trained.model.save(folder)
    except Exception as error:  # tokenizers (Rust) raises a bare Exception for a full disk, safetensors one of its own
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TrainingError(f"The trained model cannot be written to {folder} ({reason}); free some space.") from error
    return trained
