"""Trains one challenger from pairs: a head over a frozen backbone, or a sequence classifier (trainer/sequence.py)."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from preference.backbone import locate
from preference.errors import TrainingError
from preference.features import Extractors
from preference.pairs import PreferencePair
from preference.reward_model import RewardModel
from trainer.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A trained and saved reward model, and what training it told about its pairs."""

    model: RewardModel
    gaps: NDArray[np.float64] | None = None  # (num_pairs,) reward of chosen - rejected, each from a model that did not see
    # its prompt; None where the recipe is too dear to be cross-validated
    start: str = "base"  # the weights that training started from: "base", or "champion" for a warm start


@dataclass(frozen=True)
class Place:
    """Where a sequence recipe works, and what beside the base it starts from."""

    workspace: Path  # checkpoints; what a killed training left there is taken up
    curves: Path  # a folder for the files of REPORT_TO=tensorboard; its name is the run's
    champion: Path | None = None  # a version of the same base, for a warm start
    report_to: str = "none"
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most


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
    place: Place | None = None,
) -> Trained:
    """A reward model trained on `pairs` and saved into the existing `folder`; same pairs, seed and champion, same weights.

    Without `place`, nothing is resumed and nothing starts from a champion. A warm start is for sequence recipes: the loss of
    the `frozen` one is convex, so that it has one optimum from wherever it starts.

    Raises:
        TrainingError: there is nothing to train on, the loss became no number, the model cannot be written.
        ModelError: the base cannot be loaded.
    """
    if not pairs:
        raise TrainingError("There are no training pairs.")
    if recipe.kind == "frozen":
        from trainer.head import feature_recipe, train_head

        features = feature_recipe(recipe, base=base, path=locate(base, model_dir))
        trained = train_head(pairs, recipe, extractors(features))
    else:
        from trainer.sequence import train_sequence  # TRL takes three seconds to import

        with ExitStack() as stack:
            if place is None:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                place = Place(scratch, scratch / "curves")
            trained = train_sequence(pairs, recipe, place, base=base, model_dir=model_dir, device=device, seed=seed)
    try:
        trained.model.save(folder)
    except Exception as error:  # tokenizers (Rust) raises a bare Exception for a full disk, safetensors one of its own
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TrainingError(f"The trained model cannot be written to {folder} ({reason}); free some space.") from error
    return trained
