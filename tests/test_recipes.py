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

from preference.features import Extractors
from preference.pairs import PreferencePair
from preference.reward_model import FrozenRewardModel, RewardHead, RewardModel, SequenceRewardModel, load_reward_model
from tests.conftest import save_tiny_base
from trainer.challenger import train_challenger
from trainer.recipes import RECIPES, Recipe

CPU = torch.device("cpu")
Inputs = dict[str, torch.Tensor]
Train = Callable[..., RewardModel]
_NOUNS = ["cat", "dog", "sea", "moon", "house", "tree", "road", "boat", "river", "stone", "bird", "fish", "lamp", "door", "book"]

# peft 0.21 asks transformers 5.23 by a name that it is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


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
    """The Bradley-Terry loss; chance is 0.693."""
    chosen, rejected = score(model, pairs)
    return float(-torch.nn.functional.logsigmoid(chosen - rejected).mean())


@contextmanager
def recorded_training() -> Iterator[list[Inputs]]:
    """What the network is given in each training step, as the collator made it: chosen answers first, then rejected."""
    steps: list[Inputs] = []

    def keep(module: torch.nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        if isinstance(module, RewardHead | LlamaForSequenceClassification) and torch.is_grad_enabled():
            steps.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})

    handle = register_module_forward_hook(keep, with_kwargs=True)
    try:
        yield steps
    finally:
        handle.remove()


def through_training_path(model: RewardModel, steps: Sequence[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The trained network's rewards for the inputs of the first epoch's steps: (of the chosen, of the rejected)."""
    network: Any = model.head if isinstance(model, FrozenRewardModel) else None
    if isinstance(model, SequenceRewardModel):
        network = model.network
    with torch.inference_mode():
        halves = [network(**inputs).logits.squeeze(-1).chunk(2) for inputs in steps]
    return torch.cat([chosen for chosen, _ in halves]), torch.cat([rejected for _, rejected in halves])


@pytest.fixture
def train(tiny_base: Path, tmp_path: Path) -> Train:
    """Trains on the tiny base with seed 0 into a folder of this test's."""

    def run(pairs: Sequence[PreferencePair], recipe: Recipe, name: str, *, base: Path = tiny_base, seed: int = 0) -> RewardModel:
        (tmp_path / name).mkdir()
        model_dir = tmp_path / "models"
        return train_challenger(
            pairs, recipe, tmp_path / name, base=str(base), model_dir=model_dir,
            extractors=Extractors(model_dir, CPU), device=CPU, seed=seed,
        )  # fmt: skip

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
    recipe = dataclasses.replace(RECIPES[name](24), l2=0.01, batch_pairs=4)
    pairs, holdout = separable_pairs(24), separable_pairs(24, start=100)
    rate = {"frozen": 0.01, "lora": 0.01, "full": 0.001}[name]

    untrained = train(pairs, dataclasses.replace(recipe, learning_rate=1e-9, epochs=1), "untrained")
    trained = train(pairs, dataclasses.replace(recipe, learning_rate=rate, epochs=4), "trained")

    chosen, rejected = score(trained, holdout)
    assert (chosen > rejected).float().mean() >= 0.95
    assert loss(trained, holdout) < 0.5 < 0.6 < loss(untrained, holdout)


@pytest.mark.parametrize("base", ["tiny_base", "tiny_chat_base"])
@pytest.mark.parametrize("name", RECIPES)
def test_training_and_serving_read_a_text_the_same_way(
    name: str, base: str, train: Train, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The proof of one text formatting: the trained network on training's own inputs, against the served model on texts."""
    pairs = separable_pairs(11)  # no multiple of a batch
    recipe = dataclasses.replace(RECIPES[name](11), learning_rate=0.01, batch_pairs=4)

    with recorded_training() as steps:
        trained = train(pairs, recipe, "version", base=request.getfixturevalue(base))
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    epoch = steps[-1:] if name == "frozen" else steps
    in_training = through_training_path(trained, epoch)
    assert in_training[0].std() > 1e-4, "a constant would pass"
    for before, after in zip(in_training, score(served, pairs), strict=True):
        torch.testing.assert_close(after.sort().values, before.sort().values, rtol=0, atol=1e-5)  # training shuffles


@pytest.mark.parametrize("name", RECIPES)
def test_a_base_whose_pad_token_is_its_end_token_is_read_the_same_way_too(name: str, train: Train, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", pad_token=None)
    pairs = separable_pairs(6)

    with recorded_training() as steps:
        trained = train(pairs, dataclasses.replace(RECIPES[name](6), learning_rate=0.01), "version", base=base)
    served = load_reward_model(tmp_path / "version", extractor=Extractors(tmp_path / "other", CPU), device=CPU)

    assert trained.tokenizer.pad_token_id == trained.tokenizer.eos_token_id
    for before, after in zip(through_training_path(trained, steps[-1:]), score(served, pairs), strict=True):
        torch.testing.assert_close(after.sort().values, before.sort().values, rtol=0, atol=1e-5)


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

    rows = steps[-1]["features"] if name == "frozen" else torch.cat([step["input_ids"] for step in steps])
    assert len(rows) == 2 * len(long), "every answer of every pair was trained on"
    if name != "frozen":
        assert rows.shape[1] == 24
    assert torch.stack(score(trained, long)).isfinite().all()


@pytest.mark.parametrize("num_pairs", [1, 30, 3000])
def test_a_recipe_goes_by_its_own_name_for_any_number_of_pairs(num_pairs: int) -> None:
    for name, make in RECIPES.items():
        assert make(num_pairs).name == name


def test_the_prior_of_the_frozen_recipe_weighs_less_the_more_pairs_there_are() -> None:
    assert [RECIPES["frozen"](num_pairs).l2 for num_pairs in (1, 100, 3000)] == [300, 3, 0.1]
