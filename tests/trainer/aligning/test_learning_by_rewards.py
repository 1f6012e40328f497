"""A generator that learns from a reward model's rewards, through TRL's RLOO and GRPO."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from preference.errors import CannotLearn
from preference.projects.generators import Generators
from preference.projects.versions import Versions
from tests.support.aligned_house import AlignedHouse
from tests.support.killed_alignments import killed
from tests.support.versions import publish_version
from trainer.aligning.alignment import UnfinishedAlignment
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


@pytest.mark.parametrize("recipe", [RLOO, GRPO], ids=lambda recipe: recipe.method)
def test_killed_in_its_steps_it_goes_on_and_so_do_its_curves(
    house: AlignedHouse, recipe: AlignRecipe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.settings = house.settings.replace(report_to="tensorboard")
    recipe = replace(quick(recipe), epochs=0.3)
    killed(house, recipe, step=2)
    assert house.said[0].startswith("learning by rewards: ")
    assert {path.name for path in UnfinishedAlignment(house.folder).folder.iterdir()} == {
        "alignment.json",
        "checkpoint.safetensors",
        "version",
    }

    ended = house.align(recipe)

    card = house.card(ended)
    assert card.num_steps and card.num_steps == card.num_wanted_steps
    assert [message for message in caplog.messages if message.startswith("going on")] == [
        f"going on after step 2 of {card.num_steps}"
    ]
    assert [line.partition(":")[0] for line in house.said] == ["judging it beside base"], "its budget was said before the kill"
    assert "trl" in card.libraries
    (curve,) = house.folder.path.glob("curves/*-align")
    events = b"".join(path.read_bytes() for path in curve.glob("events.*"))
    for name in (b"train/reward", b"train/kl", b"train/loss"):
        assert events.count(name) >= card.num_steps - 2, name  # two writers within a second have one file


def test_one_that_has_other_prompts_or_draws_otherwise_begins_anew(house: AlignedHouse, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    killed(house, quick(RLOO), step=1)
    for number in range(12):
        house.studio.add_tasks(house.project.id, {"prompt": f"Nobody judged {number}.", "answer1": "a", "answer2": "b"})
    killed(house, quick(RLOO), beginning="learning by")
    house.settings = house.settings.replace(temperature=0.7)
    killed(house, quick(RLOO), beginning="learning by")

    changed = [message.partition("it had other ")[2] for message in caplog.messages if "is not taken up" in message]
    assert changed == ["prompts", "settings"]


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
