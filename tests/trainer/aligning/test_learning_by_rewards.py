"""A generator that learns from a reward model's rewards, through TRL's RLOO and GRPO."""

from dataclasses import replace
from pathlib import Path

import pytest

from preference.errors import CannotLearn, TrainingError
from preference.projects.generators import Generators
from preference.projects.versions import Versions
from tests.support.aligned_house import AlignedHouse
from tests.support.versions import publish_version
from trainer.generator_training.recipe import GRPO, RLOO, AlignRecipe

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own


@pytest.fixture
def house(house: AlignedHouse, tiny_chat_base: Path) -> AlignedHouse:
    """With a champion that likes long answers, as far as a tiny one can."""
    house.judge(90)
    house.folder.create()
    Versions(house.folder).promote(publish_version(house.folder, tiny_chat_base, weight=1))
    house.settings = house.settings.replace(max_new_tokens=8)
    return house


def quick(recipe: AlignRecipe) -> AlignRecipe:
    return replace(recipe, epochs=0.2, learning_rate=1e-3, answers_a_prompt=2)


@pytest.mark.parametrize("recipe", [RLOO, GRPO], ids=lambda recipe: recipe.method)
def test_it_learns_from_the_champions_rewards_and_is_judged_as_any_other(house: AlignedHouse, recipe: AlignRecipe) -> None:
    ended = house.align(quick(recipe))

    card = house.card(ended)
    assert (card.method, card.rewarded_by, card.num_pairs) == (recipe.method, Versions(house.folder).champion(), None)
    assert card.num_prompts is not None and 50 < card.num_prompts < 80, "none that is held out"
    assert card.num_steps == card.num_wanted_steps == -(-card.num_prompts // 20)
    assert card.metrics.num_prompts and card.metrics.kl is not None and card.metrics.kl != 0
    assert house.said[0].startswith(f"learning by rewards: {card.num_steps} steps, ") and "judging" in house.said[1]
    folder = Generators(house.folder).path(ended.version)
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "answers.jsonl",
        "card.json",
    }


def test_the_time_is_kept_to(house: AlignedHouse) -> None:
    ticks = iter(range(0, 10**6, 10))

    ended = house.align(replace(quick(RLOO), epochs=2), minutes=1, clock=lambda: float(next(ticks)))

    card = house.card(ended)
    assert card.num_steps == 6 and card.num_wanted_steps is not None and card.num_wanted_steps > 6
    assert "which would take longer than ALIGN_MINUTES" in house.said[0]


def test_too_little_time_is_said_after_the_first_step(house: AlignedHouse) -> None:
    ticks = iter(range(0, 10**6, 40))
    with pytest.raises(TrainingError, match=r"^A step takes 40.0 s, so 60 s have room for 1 of 4 steps; raise ALIGN_MINUTES"):
        house.align(quick(RLOO), minutes=1, clock=lambda: float(next(ticks)))
    assert Generators(house.folder).all() == []


def test_without_a_champion_there_are_no_rewards(house: AlignedHouse) -> None:
    (house.folder.path / "champion").unlink()
    with pytest.raises(CannotLearn, match=r"serves no reward model to learn from; `pairloop-trainer once` trains one\.$"):
        house.align(quick(RLOO))


def test_a_prompt_of_which_something_would_be_cut_is_not_answered(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(max_prompt_tokens=16)
    with pytest.raises(
        CannotLearn, match=r"^No prompt that is not held out has 16 tokens or fewer; import some, or raise MAX_PROMPT"
    ):
        house.align(quick(RLOO))
