"""A head over what a base sees that computes in bfloat16, here or where the head was made."""

import random
from pathlib import Path

import pytest
import torch

from preference.labelling.pairs import PreferencePair
from preference.models.number_formats import ComputedIn
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.model import load_saved
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN

CPU = torch.device("cpu")


def random_pairs(count: int) -> list[PreferencePair]:
    """Pairs of random letters, each about a prompt of its own."""
    rng = random.Random(3)
    prompts, chosen, rejected = (["".join(rng.choices("abcdefgh ", k=30)) for _ in range(count)] for _ in range(3))
    return [PreferencePair(*texts) for texts in zip(prompts, chosen, rejected, strict=True)]


@pytest.mark.parametrize(("made", "here"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_head_over_one_number_format_has_nearly_the_same_rewards_over_the_other(
    tiny_base: Path, tmp_path: Path, made: ComputedIn, here: ComputedIn
) -> None:
    pairs, features = random_pairs(40), FeatureRecipe(str(tiny_base), (1, 3), 256)
    prompts, answers = [pair.prompt for pair in pairs], [pair.chosen for pair in pairs]
    trained = train_head(pairs, FROZEN, Extractors(tmp_path, CPU, made)(features)).model
    trained.save(tmp_path)
    loaded = load_saved(tmp_path, extractor=Extractors(tmp_path, CPU, here), device=CPU)
    differences = loaded.score(prompts, answers) - trained.score(prompts, answers)  # of rewards whose standard deviation is 1

    assert (loaded.description.dtype, loaded.dtype) == (made, here)
    assert 1e-4 < float(differences.abs().max()) < 0.1
