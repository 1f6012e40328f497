"""What training gives back, and where it works."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preference.reward_model.model import RewardModel


@dataclass(frozen=True)
class TrainingResult:
    """A trained and saved reward model, and what training it told about its pairs."""

    model: RewardModel
    gaps: NDArray[np.float64] | None = None  # (num_pairs,) reward of chosen - rejected, each from a model that did not see
    # its prompt; None where the recipe is too dear to be cross-validated
    start: str = "base"  # the weights that training started from: "base", or "champion" for a warm start


@dataclass(frozen=True)
class Workspace:
    """Where a sequence recipe works, and what beside the base it starts from."""

    workspace: Path  # checkpoints; what a killed training left there is taken up
    curves: Path  # a folder for the files of REPORT_TO=tensorboard; its name is the run's
    champion: Path | None = None  # a version of the same base, for a warm start
    report_to: str = "none"
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most
