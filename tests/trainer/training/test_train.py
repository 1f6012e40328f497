import dataclasses
import logging
from pathlib import Path

import pytest
import torch

from preference.errors import ModelError, TrainingError
from preference.labelling.pairs import PreferencePair
from preference.reward_model.model import FrozenRewardModel
from tests.support.forked import run_forked
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close
from tests.support.trainings import SEQUENCE, Train, score, with_little_padding
from trainer.training.recipes import FROZEN, LORA, RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_no_pairs_are_refused(name: str, train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^There are no training pairs\.$"):
        train([], RECIPES[name], "version")

    assert list((tmp_path / "version").iterdir()) == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_base_that_cannot_be_loaded_is_named(name: str, train: Train, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-base"

    with pytest.raises(ModelError, match=f"The model '{missing}' cannot be loaded .*; name a folder with safetensors weights"):
        train(separable_pairs(4), RECIPES[name], "version", base=missing)


@pytest.mark.parametrize("name", SEQUENCE)
def test_another_seed_gives_another_score_head(name: str, train: Train) -> None:
    pairs, recipe = separable_pairs(4), with_little_padding(name)

    rewards = [score(train(pairs, recipe, f"seed-{seed}", seed=seed), pairs)[0] for seed in (0, 1)]

    assert float((rewards[0] - rewards[1]).abs().max()) > 10 * TRAINED_REWARDS


def test_the_frozen_recipe_leaves_the_base_alone_and_reads_the_layers_that_its_shares_name(train: Train) -> None:
    pairs = separable_pairs(4)

    model = train(pairs, dataclasses.replace(FROZEN, layer_shares=(0.5, 0.75)), "version")

    assert isinstance(model, FrozenRewardModel)
    assert model.description.layers == (2, 3)  # of 4
    assert not model.head.weight.requires_grad


def test_the_mean_answer_of_the_training_set_has_no_reward(train: Train) -> None:
    pairs = separable_pairs(10)

    chosen, rejected = score(train(pairs, FROZEN, "version"), pairs)

    assert chosen.mean() > 0.01
    assert float(torch.cat([chosen, rejected]).mean()) == pytest.approx(0, abs=1e-5)


def test_a_feature_that_never_varies_breaks_nothing(train: Train) -> None:
    same_length = [PreferencePair("Say it.", "qz", "zq") for _ in range(4)]  # of no merge: two tokens each

    chosen, rejected = score(train(same_length, FROZEN, "version"), same_length)

    assert chosen.isfinite().all()
    assert (chosen > rejected).all()


@pytest.mark.parametrize("name", SEQUENCE)
def test_cut_answers_are_counted_in_one_line(name: str, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    pairs = [*[PreferencePair("short", "yes", "no")] * 3, PreferencePair("short", "a much longer answer than fits " * 5, "no")]
    caplog.set_level(logging.INFO, logger="pairloop.training")

    train(pairs, with_little_padding(name, max_tokens=32), "version")

    lines = [line for line in caplog.messages if "were cut" in line]
    assert lines == ["1 of 8 answers were cut to 32 tokens, prompts first"]


def test_a_lora_version_is_an_adapter_with_its_head_that_scores_without_dropout_and_gradients(
    train: Train, tmp_path: Path
) -> None:
    pairs = separable_pairs(4)
    model = train(pairs, LORA, "version")

    files = {path.name for path in (tmp_path / "version").iterdir()}
    first, second = score(model, pairs), score(model, pairs)

    assert {"adapter_model.safetensors", "adapter_config.json", "reward_model.json", "tokenizer.json"} <= files
    assert "model.safetensors" not in files
    assert_close(torch.cat(first), torch.cat(second), within=REWARDS)
    assert not first[0].requires_grad


def test_a_model_that_does_not_fit_on_the_disk_is_an_error(tiny_base: Path, tmp_path: Path) -> None:
    """A real limit on what a process may write, in a process of its own: a file of the tokenizer is larger."""
    (tmp_path / "version").mkdir()
    program = """
import pathlib, resource, sys, torch
from preference.errors import TrainingError
from preference.reward_model.extractors import Extractors
from tests.support.trainings import CPU
from tests.support.separable_pairs import separable_pairs
from trainer.training.train import train_challenger
from trainer.training.recipes import FROZEN
from trainer.training.trained import TrainingContext
base, folder = sys.argv[1], pathlib.Path(sys.argv[2])
extractors = Extractors(folder / "models", CPU)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
try:
    train_challenger(separable_pairs(4), FROZEN, folder / "version", TrainingContext(base, extractors))
except TrainingError as error:
    print(error)
"""
    finished = run_forked(program, tiny_base, tmp_path)

    assert finished.stdout.startswith(f"The trained model cannot be written to {tmp_path / 'version'} ("), finished.stderr
    assert finished.stdout.endswith("; free some space.\n")
