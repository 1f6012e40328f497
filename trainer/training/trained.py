"""What training takes beside pairs and a recipe, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preference.labelling.holdout import NEWEST_RULE
from preference.models.number_formats import NumberFormat
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.model import RewardModel

Start = Literal["base", "champion"]


@dataclass(frozen=True)
class TrainingResult:
    """A trained reward model, and what training learnt about its pairs."""

    model: RewardModel
    gaps: NDArray[np.float64] | None = None  # (num_pairs,) reward of chosen - rejected, each from a model that did not see
    # its prompt; None if the recipe is too expensive to be cross-validated
    start: Start = "base"  # the weights that training started from
    learnt_from: str = ""  # the earlier project's champion whose reward was one of its features
    unweighted: RewardModel | None = (
        None  # what the same pairs give without ANNOTATOR_WEIGHTS; None if the recipe is too expensive
    )
    smaller: tuple[tuple[int, RewardModel], ...] = ()  # models of the first so many of the pairs, for a learning curve


@dataclass(frozen=True, eq=False)
class EarlierHead:
    """The head of an earlier project's champion, of which a `frozen` recipe makes one more feature."""

    name: str  # for the card
    weight: torch.Tensor  # (size,)
    features: FeatureRecipe  # what it is over


@dataclass(frozen=True)
class TrainingContext:
    """The base model, and on what it is trained."""

    base: str
    extractors: Extractors
    seed: int = 0
    holdout_rule: int = NEWEST_RULE  # by which prompts are set aside, too
    dtype: NumberFormat = "float32"  # that sequence recipes compute in; what learns is float32
    earlier: EarlierHead | None = None
    free_bytes: int | None = None  # that a sequence recipe may take; None is what is free


@dataclass(frozen=True)
class Workspace:
    """Where a sequence recipe works, and what it starts from beside the base."""

    folder: Path  # checkpoints; a killed training goes on from those that it wrote there
    curves: Path  # a folder for the files of REPORT_TO=tensorboard; its name is the run's
    champion: Path | None = None  # a version of the same base, for a warm start
    report_to: str = "none"
    checkpoint_seconds: float = 180  # between two checkpoints: what a kill costs at most
