"""Recipes on a base that is a reward model already: they begin with its head, and read texts as it does."""

from pathlib import Path

import pytest

from preference.reward_model.extractors import Extractors
from preference.reward_model.model import load_saved
from preference.reward_model.version_zero import load_from_shelf
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close
from tests.support.trainings import CPU, Bench, quick, recorded_training, score, train_version
from trainer.training.recipes import RECIPES

PAIRS = separable_pairs(12)


@pytest.mark.parametrize("recipe", ["lora", "full"])
def test_training_begins_with_the_reward_model_itself(tiny_reward_model: Path, tmp_path: Path, recipe: str) -> None:
    bench = Bench(tiny_reward_model, tmp_path)

    with recorded_training() as steps:
        unmoved = bench.fit(PAIRS, quick(recipe, learning_rate=1e-12, epochs=1))

    shelf = load_from_shelf(str(tiny_reward_model), bench.context.extractors)
    assert unmoved.description.closing == shelf.description.closing == "template"
    for trained, untrained in zip(score(unmoved, PAIRS), score(shelf, PAIRS), strict=True):
        assert_close(trained, untrained, within=REWARDS)
    # The last token that it was trained on is the line break by which the template closes a turn.
    last = int(steps[0]["attention_mask"][0].sum()) - 1
    assert shelf.tokenizer.decode(steps[0]["input_ids"][0, last - 1 : last + 1]) == "<|im_end|>\n"


@pytest.mark.parametrize("recipe", ["lora", "full", "frozen"])
def test_a_version_on_it_learns_is_stored_and_is_loaded(tiny_reward_model: Path, tmp_path: Path, recipe: str) -> None:
    extractors = Extractors(tmp_path / "models", CPU)
    how = RECIPES["frozen"] if recipe == "frozen" else quick(recipe, learning_rate=5e-3, epochs=2)

    model = train_version(PAIRS, how, tmp_path / "version", base=tiny_reward_model, extractors=extractors)

    chosen, rejected = score(model, PAIRS)
    assert float((chosen > rejected).float().mean()) > 0.8
    loaded = load_saved(tmp_path / "version", extractor=Extractors(tmp_path / "models", CPU), device=CPU)
    assert loaded.description == model.description
    assert_close(score(loaded, PAIRS)[0], chosen, within=TRAINED_REWARDS)
