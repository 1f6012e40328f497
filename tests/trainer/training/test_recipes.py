"""The contract of a recipe, run over RECIPES: what a new one must keep."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import transcript
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel, SequenceRewardModel, load_saved
from tests.support.separable_pairs import separable_pairs
from tests.support.tiny_bases import save_tiny_base
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close, assert_same_weights
from tests.support.trainings import (
    CPU,
    SEQUENCE,
    Inputs,
    Train,
    recorded_training,
    score,
    train_version,
    with_little_padding,
)
from trainer.training.recipes import LEAST_TO_SET_ASIDE, RECIPES, Recipe
from trainer.training.sequence import set_aside

PAIRS = separable_pairs(20)  # too few for some to be set aside


@dataclass(frozen=True)
class Version:
    """What a recipe made of PAIRS with seed 3; only to be read."""

    name: str
    recipe: Recipe
    model: RewardModel
    folder: Path


@pytest.fixture(scope="module", params=RECIPES)
def version(
    request: pytest.FixtureRequest, tiny_base: Path, extractors: Extractors, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    recipe = with_little_padding(request.param, learning_rate=1e-3)
    folder = tmp_path_factory.mktemp("versions") / request.param
    model = train_version(PAIRS, recipe, folder, base=tiny_base, extractors=extractors, seed=3)
    return Version(request.param, recipe, model, folder)


def loss(model: RewardModel, pairs: Sequence[PreferencePair]) -> float:
    """The Bradley-Terry loss of the model's own probabilities; chance is 0.693."""
    chosen, rejected = score(model, pairs)
    return float(-torch.nn.functional.logsigmoid((chosen - rejected) / model.description.temperature).mean())


def through_training_path(model: RewardModel, steps: Sequence[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The trained network's rewards for the inputs of the first epoch's steps: (of the chosen, of the rejected)."""
    assert isinstance(model, SequenceRewardModel)
    with torch.inference_mode():
        halves = [model.logits(inputs).squeeze(-1).chunk(2) for inputs in steps]
    chosen, rejected = torch.cat([chosen for chosen, _ in halves]), torch.cat([rejected for _, rejected in halves])
    center, scale = model.description.center, model.description.scale
    return (chosen - center) / scale, (rejected - center) / scale


def test_what_is_saved_scores_as_what_was_trained(version: Version, tmp_path: Path) -> None:
    holdout = separable_pairs(12, start=100)

    loaded = load_saved(version.folder, extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert loaded.description == version.model.description
    chosen, rejected = score(version.model, holdout)
    assert chosen.std() > 1e-4, "a constant would pass"
    for before, after in zip((chosen, rejected), score(loaded, holdout), strict=True):
        assert_close(after, before, within=REWARDS)


def test_the_same_pairs_and_seed_give_the_same_weights(version: Version, train: Train, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # what happened in the process before must not matter

    again = train(PAIRS, version.recipe, "again", seed=3)

    file = "adapter_model.safetensors" if version.recipe.lora_rank else "model.safetensors"
    assert_same_weights(*(load_file(folder / file) for folder in (version.folder, tmp_path / "again")))
    assert_close(torch.cat(score(version.model, PAIRS)), torch.cat(score(again, PAIRS)), within=TRAINED_REWARDS)
    assert {path.name for path in version.folder.iterdir()} == {path.name for path in (tmp_path / "again").iterdir()}


@pytest.mark.parametrize("name", RECIPES)
def test_training_makes_unseen_separable_pairs_right(name: str, train: Train) -> None:
    recipe = with_little_padding(name, batch_pairs=4, epochs=4)
    pairs, holdout = separable_pairs(24), separable_pairs(24, start=100)
    rate = {"lora": 0.01, "full": 0.001, "tutorial": 0.001}.get(name, 0)

    trained = train(pairs, dataclasses.replace(recipe, learning_rate=rate), "trained")

    chosen, rejected = score(trained, holdout)
    assert (chosen > rejected).float().mean() >= 0.95
    assert loss(trained, holdout) < 0.5
    if name in SEQUENCE:
        untrained = train(pairs, dataclasses.replace(recipe, learning_rate=1e-9, epochs=0.01), "untrained")
        assert loss(untrained, holdout) > 0.6


def test_rewards_have_mean_0_and_standard_deviation_1_over_the_training_answers(version: Version, train: Train) -> None:
    more = separable_pairs(LEAST_TO_SET_ASIDE)
    assert set_aside(PAIRS)[1] == []
    assert set_aside(more)[1] != []

    for model, pairs in ((version.model, PAIRS), (train(more, with_little_padding(version.name), "more"), more)):
        rewards = torch.cat(score(model, pairs))
        assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)
        assert float(rewards.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
@pytest.mark.parametrize("name", SEQUENCE)
def test_training_and_serving_read_a_text_the_same_way(
    name: str, base: str, train: Train, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The proof of one text formatting: the trained network on training's own inputs, against the served model on texts."""
    pairs = separable_pairs(11)  # no multiple of a batch
    recipe = with_little_padding(name, learning_rate=0.01, batch_pairs=4)

    with recorded_training() as steps:
        trained = train(pairs, recipe, "version", base=request.getfixturevalue(base))
    served = load_saved(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    in_training = through_training_path(trained, steps)
    assert in_training[0].std() > 1e-4, "a constant would pass"
    for before, after in zip(in_training, score(served, pairs), strict=True):
        assert_close(after.sort().values, before.sort().values, within=REWARDS)  # training shuffles


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_base_whose_pad_token_is_its_end_token_is_read_the_same_way_too(name: str, train: Train, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", pad_token=None)
    pairs = separable_pairs(6)

    with recorded_training() as steps:
        trained = train(pairs, with_little_padding(name, learning_rate=0.01), "version", base=base)
    served = load_saved(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert trained.tokenizer.pad_token_id == trained.tokenizer.eos_token_id
    for before, after in zip(through_training_path(trained, steps), score(served, pairs), strict=True):
        assert_close(after.sort().values, before.sort().values, within=REWARDS)


@pytest.mark.parametrize("name", RECIPES)
def test_long_texts_are_cut_and_not_dropped(name: str, train: Train) -> None:
    long = [
        dataclasses.replace(
            pair, prompt="Once upon a time. " * 40 + transcript(pair.prompt), chosen=pair.chosen * 30, rejected=pair.rejected * 30
        )
        for pair in separable_pairs(5)
    ]

    with recorded_training() as steps:
        trained = train(long, with_little_padding(name, max_tokens=24, batch_pairs=2), "version")

    if name in SEQUENCE:
        rows = [row[mask.bool()] for step in steps for row, mask in zip(step["input_ids"], step["attention_mask"], strict=True)]
        assert [len(row) for row in rows] == [24] * 2 * len(long), "every answer of every pair was trained on"
    assert torch.stack(score(trained, long)).isfinite().all()


def test_the_tutorial_pads_every_answer_to_550_tokens_and_takes_four_pairs_a_step(train: Train) -> None:
    pairs = separable_pairs(6)

    with recorded_training() as steps:
        trained = train(pairs, RECIPES["tutorial"], "version")

    assert [tuple(step["input_ids"].shape) for step in steps] == [(4, 550)] * 3, "two pairs at a time on a CPU"
    assert RECIPES["tutorial"].batch_pairs == 4
    for before, after in zip(through_training_path(trained, steps), score(trained, pairs), strict=True):
        assert_close(after.sort().values, before.sort().values, within=REWARDS)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_pairs_of_like_length_are_trained_together_and_padded_to_the_longest_of_them(name: str, train: Train) -> None:
    short, long = (
        separable_pairs(32),
        [dataclasses.replace(p, prompt=transcript(p.prompt) * 12) for p in separable_pairs(32, start=500)],
    )

    with recorded_training() as steps:
        train([pair for both in zip(short, long, strict=True) for pair in both], RECIPES[name], "version")

    num_padded = sum(step["attention_mask"].numel() for step in steps)
    num_real = sum(int(step["attention_mask"].sum()) for step in steps)
    assert num_padded / num_real < 1.5, "in a random order it is 1.7"
