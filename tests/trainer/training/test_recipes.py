"""The contract of a recipe, run over RECIPES: what a new one must keep."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from preference.labelling.pairs import PreferencePair
from preference.reward_model.feature_extractor import Extractors
from preference.reward_model.model import RewardModel, SequenceRewardModel, load_reward_model
from tests.conftest import save_tiny_base
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close, assert_same_weights
from tests.support.trainings import CPU, SEQUENCE, Inputs, Train, recorded_training, score, train
from trainer.training.recipes import RECIPES

__all__ = ["train"]  # a fixture


def loss(model: RewardModel, pairs: Sequence[PreferencePair]) -> float:
    """The Bradley-Terry loss of the model's own probabilities; chance is 0.693."""
    chosen, rejected = score(model, pairs)
    return float(-torch.nn.functional.logsigmoid((chosen - rejected) / model.description.temperature).mean())


def through_training_path(model: RewardModel, steps: Sequence[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The trained network's rewards for the inputs of the first epoch's steps: (of the chosen, of the rejected)."""
    assert isinstance(model, SequenceRewardModel)
    network: Any = model.network
    with torch.inference_mode():
        halves = [network(**inputs).logits.squeeze(-1).chunk(2) for inputs in steps]
    chosen, rejected = torch.cat([chosen for chosen, _ in halves]), torch.cat([rejected for _, rejected in halves])
    center, scale = model.description.center, model.description.scale
    return (chosen - center) / scale, (rejected - center) / scale


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_saved_scores_as_what_was_trained(name: str, train: Train, tmp_path: Path) -> None:
    trained = train(separable_pairs(8), RECIPES[name], "version")
    holdout = separable_pairs(12, start=100)

    loaded = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert loaded.description == trained.description
    chosen, rejected = score(trained, holdout)
    assert chosen.std() > 1e-4, "a constant would pass"
    for before, after in zip((chosen, rejected), score(loaded, holdout), strict=True):
        assert_close(after, before, within=REWARDS)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_pairs_and_seed_give_the_same_weights(name: str, train: Train, tmp_path: Path) -> None:
    pairs, recipe = separable_pairs(8), dataclasses.replace(RECIPES[name], learning_rate=1e-3)

    first = train(pairs, recipe, "first", seed=3)
    torch.manual_seed(12345)  # what happened in the process before must not matter
    second = train(pairs, recipe, "second", seed=3)

    assert_same_weights(*(load_file(tmp_path / folder / "model.safetensors") for folder in ("first", "second")))
    assert_close(torch.cat(score(first, pairs)), torch.cat(score(second, pairs)), within=TRAINED_REWARDS)
    assert {path.name for path in (tmp_path / "first").iterdir()} == {path.name for path in (tmp_path / "second").iterdir()}


@pytest.mark.parametrize("name", RECIPES)
def test_training_makes_unseen_separable_pairs_right(name: str, train: Train) -> None:
    recipe = dataclasses.replace(RECIPES[name], batch_pairs=4, epochs=4)
    recipe = dataclasses.replace(recipe, pad_to=min(recipe.pad_to, 64))  # the tutorial's 550 only take longer
    pairs, holdout = separable_pairs(24), separable_pairs(24, start=100)
    rate = {"lora": 0.01, "full": 0.001, "tutorial": 0.001}.get(name, 0)

    trained = train(pairs, dataclasses.replace(recipe, learning_rate=rate), "trained")

    chosen, rejected = score(trained, holdout)
    assert (chosen > rejected).float().mean() >= 0.95
    assert loss(trained, holdout) < 0.5
    if name in SEQUENCE:
        untrained = train(pairs, dataclasses.replace(recipe, learning_rate=1e-9, epochs=1), "untrained")
        assert loss(untrained, holdout) > 0.6


@pytest.mark.parametrize("num_pairs", [30, 60], ids=["all trained on", "some set aside"])
@pytest.mark.parametrize("name", RECIPES)
def test_rewards_have_mean_0_and_standard_deviation_1_over_the_training_answers(name: str, num_pairs: int, train: Train) -> None:
    pairs = separable_pairs(num_pairs)

    rewards = torch.cat(score(train(pairs, RECIPES[name], "version"), pairs))

    assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)
    assert float(rewards.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
@pytest.mark.parametrize("name", SEQUENCE)
def test_training_and_serving_read_a_text_the_same_way(
    name: str, base: str, train: Train, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The proof of one text formatting: the trained network on training's own inputs, against the served model on texts."""
    pairs = separable_pairs(11)  # no multiple of a batch
    recipe = dataclasses.replace(RECIPES[name], learning_rate=0.01, batch_pairs=4)

    with recorded_training() as steps:
        trained = train(pairs, recipe, "version", base=request.getfixturevalue(base))
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    in_training = through_training_path(trained, steps)
    assert in_training[0].std() > 1e-4, "a constant would pass"
    for before, after in zip(in_training, score(served, pairs), strict=True):
        assert_close(after.sort().values, before.sort().values, within=REWARDS)  # training shuffles


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_base_whose_pad_token_is_its_end_token_is_read_the_same_way_too(name: str, train: Train, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", pad_token=None)
    pairs = separable_pairs(6)

    with recorded_training() as steps:
        trained = train(pairs, dataclasses.replace(RECIPES[name], learning_rate=0.01), "version", base=base)
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert trained.tokenizer.pad_token_id == trained.tokenizer.eos_token_id
    for before, after in zip(through_training_path(trained, steps), score(served, pairs), strict=True):
        assert_close(after.sort().values, before.sort().values, within=REWARDS)


@pytest.mark.parametrize("name", RECIPES)
def test_long_texts_are_cut_and_not_dropped(name: str, train: Train) -> None:
    long = [
        dataclasses.replace(
            pair, prompt="Once upon a time. " * 40 + pair.prompt, chosen=pair.chosen * 30, rejected=pair.rejected * 30
        )
        for pair in separable_pairs(5)
    ]

    with recorded_training() as steps:
        trained = train(long, dataclasses.replace(RECIPES[name], max_tokens=24, batch_pairs=2), "version")

    if name in SEQUENCE:
        rows = [row[mask.bool()] for step in steps for row, mask in zip(step["input_ids"], step["attention_mask"], strict=True)]
        assert [len(row) for row in rows] == [24] * 2 * len(long), "every answer of every pair was trained on"
    assert torch.stack(score(trained, long)).isfinite().all()


def test_the_tutorial_pads_every_answer_to_550_tokens_and_takes_four_pairs_a_step(train: Train) -> None:
    with recorded_training() as steps:
        train(separable_pairs(6), RECIPES["tutorial"], "version")

    assert [tuple(step["input_ids"].shape) for step in steps] == [(4, 550)] * 3, "two pairs at a time on a CPU"
    assert RECIPES["tutorial"].batch_pairs == 4


@pytest.mark.parametrize("name", ["lora", "full"])
def test_pairs_of_like_length_are_trained_together_and_padded_to_the_longest_of_them(name: str, train: Train) -> None:
    short, long = separable_pairs(64), [dataclasses.replace(p, prompt=p.prompt * 12) for p in separable_pairs(64, start=500)]

    with recorded_training() as steps:
        train([pair for both in zip(short, long, strict=True) for pair in both], RECIPES[name], "version")

    num_padded = sum(step["attention_mask"].numel() for step in steps)
    num_real = sum(int(step["attention_mask"].sum()) for step in steps)
    assert num_padded / num_real < 1.5, "in a random order it is 1.7"
