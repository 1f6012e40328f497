"""The contract of a recipe, run over RECIPES: what a new one must keep."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook
from transformers import LlamaForSequenceClassification

from preference.labelling.pairs import PreferencePair
from preference.reward_model.feature_extractor import Extractors
from preference.reward_model.model import RewardModel, SequenceRewardModel, load_reward_model
from tests.conftest import save_tiny_base
from trainer.training.recipes import RECIPES, Recipe
from trainer.training.train import train_challenger
from trainer.training.trained import Workspace

CPU = torch.device("cpu")
Inputs = dict[str, torch.Tensor]
Train = Callable[..., RewardModel]
SEQUENCE = [name for name, make in RECIPES.items() if make(1).kind == "sequence"]
_NOUNS = ["cat", "dog", "sea", "moon", "house", "tree", "road", "boat", "river", "stone", "bird", "fish", "lamp", "door", "book"]


def separable_pairs(num_pairs: int, *, start: int = 0) -> list[PreferencePair]:
    """Pairs that differ in one thing which every base sees: kind words against noise. Either is as often the longer."""
    pairs = []
    for i in range(start, start + num_pairs):
        noun = _NOUNS[i % len(_NOUNS)]
        kind, noise = " and good" * (i % 2), "vzk vzk " * (i % 3)
        pairs.append(PreferencePair(f"Tell me of {noun} {i}.", f"The {noun} is kind{kind}.", f"Zzx {noun} qqw {noise}zx!"))
    return pairs


def score(model: RewardModel, pairs: Sequence[PreferencePair]) -> tuple[torch.Tensor, torch.Tensor]:
    """The rewards of the chosen and of the rejected answers."""
    prompts = [pair.prompt for pair in pairs]
    return model.score(prompts, [pair.chosen for pair in pairs]), model.score(prompts, [pair.rejected for pair in pairs])


def loss(model: RewardModel, pairs: Sequence[PreferencePair]) -> float:
    """The Bradley-Terry loss of the model's own probabilities; chance is 0.693."""
    chosen, rejected = score(model, pairs)
    return float(-torch.nn.functional.logsigmoid((chosen - rejected) / model.description.temperature).mean())


@contextmanager
def recorded_training() -> Iterator[list[Inputs]]:
    """What the network is given in each training step, as the collator made it: chosen answers first, then rejected."""
    steps: list[Inputs] = []

    def keep(module: torch.nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        if isinstance(module, LlamaForSequenceClassification) and torch.is_grad_enabled():
            steps.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})

    handle = register_module_forward_hook(keep, with_kwargs=True)
    try:
        yield steps
    finally:
        handle.remove()


def through_training_path(model: RewardModel, steps: Sequence[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The trained network's rewards for the inputs of the first epoch's steps: (of the chosen, of the rejected)."""
    assert isinstance(model, SequenceRewardModel)
    network: Any = model.network
    with torch.inference_mode():
        halves = [network(**inputs).logits.squeeze(-1).chunk(2) for inputs in steps]
    chosen, rejected = torch.cat([chosen for chosen, _ in halves]), torch.cat([rejected for _, rejected in halves])
    center, scale = model.description.center, model.description.scale
    return (chosen - center) / scale, (rejected - center) / scale


@pytest.fixture
def train(tiny_base: Path, tmp_path: Path) -> Train:
    """Trains on the tiny base with seed 0 into a folder of this test's."""

    def run(
        pairs: Sequence[PreferencePair], recipe: Recipe, name: str, *,
        base: Path = tiny_base, seed: int = 0, place: Workspace | None = None,
    ) -> RewardModel:  # fmt: skip
        (tmp_path / name).mkdir()
        model_dir = tmp_path / "models"
        return train_challenger(
            pairs, recipe, tmp_path / name, base=str(base), model_dir=model_dir,
            extractors=Extractors(model_dir, CPU), device=CPU, seed=seed, place=place,
        ).model  # fmt: skip

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_saved_scores_as_what_was_trained(name: str, train: Train, tmp_path: Path) -> None:
    trained = train(separable_pairs(8), RECIPES[name](8), "version")
    holdout = separable_pairs(12, start=100)

    loaded = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert loaded.description == trained.description
    chosen, rejected = score(trained, holdout)
    assert chosen.std() > 1e-4, "a constant would pass"
    for before, after in zip((chosen, rejected), score(loaded, holdout), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_pairs_and_seed_give_the_same_weights(name: str, train: Train, tmp_path: Path) -> None:
    pairs, recipe = separable_pairs(8), RECIPES[name](8)

    train(pairs, recipe, "first", seed=3)
    torch.manual_seed(12345)  # what happened in the process before must not matter
    train(pairs, recipe, "second", seed=3)

    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert "model.safetensors" in files
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


@pytest.mark.parametrize("name", RECIPES)
def test_training_makes_unseen_separable_pairs_right(name: str, train: Train) -> None:
    recipe = dataclasses.replace(RECIPES[name](24), batch_pairs=4, epochs=4)
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

    rewards = torch.cat(score(train(pairs, RECIPES[name](num_pairs), "version"), pairs))

    assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)
    assert float(rewards.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
@pytest.mark.parametrize("name", SEQUENCE)
def test_training_and_serving_read_a_text_the_same_way(
    name: str, base: str, train: Train, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The proof of one text formatting: the trained network on training's own inputs, against the served model on texts."""
    pairs = separable_pairs(11)  # no multiple of a batch
    recipe = dataclasses.replace(RECIPES[name](11), learning_rate=0.01, batch_pairs=4)

    with recorded_training() as steps:
        trained = train(pairs, recipe, "version", base=request.getfixturevalue(base))
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    in_training = through_training_path(trained, steps)
    assert in_training[0].std() > 1e-4, "a constant would pass"
    for before, after in zip(in_training, score(served, pairs), strict=True):
        torch.testing.assert_close(after.sort().values, before.sort().values, rtol=0, atol=1e-4)  # training shuffles


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_base_whose_pad_token_is_its_end_token_is_read_the_same_way_too(name: str, train: Train, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", pad_token=None)
    pairs = separable_pairs(6)

    with recorded_training() as steps:
        trained = train(pairs, dataclasses.replace(RECIPES[name](6), learning_rate=0.01), "version", base=base)
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert trained.tokenizer.pad_token_id == trained.tokenizer.eos_token_id
    for before, after in zip(through_training_path(trained, steps), score(served, pairs), strict=True):
        torch.testing.assert_close(after.sort().values, before.sort().values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_long_texts_are_cut_and_not_dropped(name: str, train: Train) -> None:
    long = [
        dataclasses.replace(
            pair, prompt="Once upon a time. " * 40 + pair.prompt, chosen=pair.chosen * 30, rejected=pair.rejected * 30
        )
        for pair in separable_pairs(5)
    ]

    with recorded_training() as steps:
        trained = train(long, dataclasses.replace(RECIPES[name](5), max_tokens=24, batch_pairs=2), "version")

    if name in SEQUENCE:
        rows = [row[mask.bool()] for step in steps for row, mask in zip(step["input_ids"], step["attention_mask"], strict=True)]
        assert [len(row) for row in rows] == [24] * 2 * len(long), "every answer of every pair was trained on"
    assert torch.stack(score(trained, long)).isfinite().all()


def test_the_tutorial_pads_every_answer_to_550_tokens_and_takes_four_pairs_a_step(train: Train) -> None:
    with recorded_training() as steps:
        train(separable_pairs(6), RECIPES["tutorial"](6), "version")

    assert [tuple(step["input_ids"].shape) for step in steps] == [(4, 550)] * 3, "two pairs at a time on a CPU"
    assert RECIPES["tutorial"](6).batch_pairs == 4


@pytest.mark.parametrize("name", ["lora", "full"])
def test_pairs_of_like_length_are_trained_together_and_padded_to_the_longest_of_them(name: str, train: Train) -> None:
    short, long = separable_pairs(64), [dataclasses.replace(p, prompt=p.prompt * 12) for p in separable_pairs(64, start=500)]

    with recorded_training() as steps:
        train([pair for both in zip(short, long, strict=True) for pair in both], RECIPES[name](128), "version")

    num_padded = sum(step["attention_mask"].numel() for step in steps)
    num_real = sum(int(step["attention_mask"].sum()) for step in steps)
    assert num_padded / num_real < 1.5, "in a random order it is 1.7"


@pytest.mark.parametrize("num_pairs", [1, 30, 3000])
def test_a_recipe_goes_by_its_own_name_for_any_number_of_pairs(num_pairs: int) -> None:
    for name, make in RECIPES.items():
        assert make(num_pairs).name == name
