import dataclasses
import logging
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from transformers import LlamaForCausalLM

from preference.errors import TrainingError
from preference.labelling.holdout import NEWEST_RULE
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, transcript
from preference.models.pretrained import load_config
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import Description
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import TRAINED_REWARDS, assert_close, assert_same_weights
from tests.support.trainings import CPU, quick, weights_of, with_little_padding
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.lora import can_be_continued
from trainer.training.recipes import Recipe
from trainer.training.sequence import set_aside, train_sequence
from trainer.training.trained import TrainingContext, TrainingResult, Workspace


class House:
    """Trains sequence recipes on the tiny base, each in a folder of its own."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder

    def train(self, pairs: list[PreferencePair], recipe: Recipe, name: str, **changes: Any) -> TrainingResult:
        workspace = dataclasses.replace(Workspace(self.folder / f"{name}-work", self.folder / "curves"), **changes)
        context = TrainingContext(str(self.base), Extractors(self.folder / "models", CPU))
        return train_sequence(pairs, recipe, context, workspace)


@pytest.fixture(scope="module")
def champion(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that learnt from pairs which no test trains on; only to be read."""
    folder = tmp_path_factory.mktemp("champion")
    House(tiny_base, folder).train(separable_pairs(24), quick(learning_rate=0.005, epochs=3), "champion").model.save(folder)
    return folder


@pytest.fixture
def house(tiny_base: Path, tmp_path: Path) -> House:
    return House(tiny_base, tmp_path)


def flipped(pairs: list[PreferencePair]) -> list[PreferencePair]:
    return [dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.module == "sequence"]


# Warm start


@pytest.fixture(scope="module")
def adapter_champion(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `champion`, made by `lora`."""
    folder = tmp_path_factory.mktemp("champion")
    House(tiny_base, folder).train(separable_pairs(24), quick("lora", learning_rate=0.02, epochs=3), "champion").model.save(
        folder
    )
    return folder


@pytest.mark.parametrize("name", ["lora", "full"])
def test_training_starts_from_an_adapter_that_knows_more(
    name: str, house: House, adapter_champion: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")

    trained = house.train(separable_pairs(40, start=100), quick(name, epochs=1), "challenger", champion=adapter_champion)

    check_started_from_the_champion(name, trained, caplog)
    assert trained.model.description.kind == ("adapter" if name == "lora" else "sequence")


def test_an_adapter_does_not_start_from_weights_that_are_not_the_bases(house: House, champion: Path) -> None:
    recipe = quick("lora", epochs=0.1)

    assert house.train(separable_pairs(40), recipe, "challenger", champion=champion).start == "base"
    assert not (house.folder / "challenger-work" / "champion").exists()


def test_an_adapter_does_not_start_from_one_of_another_rank(adapter_champion: Path) -> None:
    assert can_be_continued(adapter_champion, quick("lora"))
    assert not can_be_continued(adapter_champion, quick("lora", lora_rank=4))


def test_the_same_champion_gives_the_same_weights(house: House, champion: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")
    results = []

    for name in "ab":
        caplog.clear()
        results.append(house.train(separable_pairs(40, start=100), quick(epochs=1), name, champion=champion))
        check_started_from_the_champion("full", results[-1], caplog)

    one, other = results
    assert_same_weights(network(one), network(other))
    assert_close(
        score_pairs(one.model, separable_pairs(8)).gaps, score_pairs(other.model, separable_pairs(8)).gaps, within=TRAINED_REWARDS
    )


def check_started_from_the_champion(name: str, trained: TrainingResult, caplog: pytest.LogCaptureFixture) -> None:
    assert trained.start == "champion"
    (line,) = logged(caplog)
    assert line.startswith(f"training {name}: from the champion (loss on ")
    assert " from the base, " in line


def test_training_does_not_start_from_a_champion_that_learnt_the_opposite(
    house: House, champion: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")
    pairs = flipped(separable_pairs(40, start=100))

    trained = house.train(pairs, quick(epochs=1), "challenger", champion=champion)

    assert trained.start == "base"
    assert logged(caplog)[0].startswith("training full: from the base (loss on ")
    alone = network(house.train(pairs, quick(epochs=1), "alone"))
    assert_same_weights(network(trained), alone)  # it leaves no trace


def network(trained: TrainingResult) -> dict[str, Any]:
    return weights_of(trained.model)


def test_with_nothing_set_aside_training_starts_from_the_base(house: House, champion: Path) -> None:
    assert house.train(separable_pairs(39), quick(epochs=1), "challenger", champion=champion).start == "base"


def test_the_tutorial_always_starts_from_the_base(house: House, champion: Path) -> None:
    recipe = with_little_padding("tutorial")

    assert house.train(separable_pairs(40), recipe, "challenger", champion=champion).start == "base"
    assert not (house.folder / "challenger-work" / "champion").exists()


def test_a_champion_that_cannot_be_loaded_costs_the_warm_start_alone(
    house: House, champion: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = shutil.copytree(champion, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"damaged")

    assert house.train(separable_pairs(40), quick(epochs=1), "challenger", champion=damaged).start == "base"
    assert logged(caplog)[0].startswith(f"no warm start from the champion: The model '{damaged}' cannot be loaded")


@pytest.mark.parametrize("name", ["lora", "full"])
def test_an_adapter_of_a_base_of_another_shape_costs_the_warm_start_alone(
    name: str, adapter_champion: Path, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")  # whose files were replaced
    wider: Any = load_config(str(base))
    wider.intermediate_size *= 2
    LlamaForCausalLM(wider).save_pretrained(base)

    trained = House(base, tmp_path).train(separable_pairs(40), quick(name, epochs=0.1), "challenger", champion=adapter_champion)

    assert trained.start == "base"
    line = logged(caplog)[0]
    assert line.startswith(
        f"no warm start from the champion: The adapter in {adapter_champion} does not fit its base (RuntimeError: "
    )
    assert line.endswith("; put back the base that it was trained on, or promote another version.")


def test_memory_that_no_longer_suffices_for_a_second_training_does_not_cost_the_first(
    house: House, champion: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = iter([1_000_000_000])  # another process takes the rest meanwhile
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=next(free, 1000)))

    trained = house.train(separable_pairs(40), quick(epochs=0.1), "challenger", champion=champion)

    assert trained.start == "base"
    assert logged(caplog)[0].startswith("no warm start from the champion: RECIPE=full takes ")


# Set aside, centred, calibrated


def test_judgements_set_aside_move_the_temperature_and_no_weight(house: House) -> None:
    pairs = separable_pairs(40, start=100)
    aside = prompts_set_aside(house, pairs)
    assert 2 <= len(aside) <= 12
    turned = [flipped([pair])[0] if pair.prompt in aside else pair for pair in pairs]

    one, other = house.train(pairs, quick(), "one"), house.train(turned, quick(), "other")

    assert_same_weights(network(one), network(other))
    assert one.model.description.temperature < 0.3 * other.model.description.temperature


def prompts_set_aside(house: House, pairs: list[PreferencePair]) -> set[str]:
    return {transcript(pair.prompt) for pair in set_aside(pairs)[1]}


def test_votes_on_one_prompt_are_set_aside_together(house: House) -> None:
    pairs = separable_pairs(60) * 3

    aside = prompts_set_aside(house, pairs)

    assert aside == prompts_set_aside(house, separable_pairs(60))


@pytest.mark.parametrize("rule", [1, NEWEST_RULE])
def test_no_twin_of_a_prompt_that_is_trained_on_is_set_aside(rule: int) -> None:
    pairs = separable_pairs(200)
    twins = [dataclasses.replace(pair, prompt=transcript(pair.prompt).removesuffix(".")) for pair in pairs]

    fitted, aside = set_aside([*pairs, *twins], rule=rule)

    assert aside
    assert not {normalised(pair.prompt) for pair in fitted} & {normalised(pair.prompt) for pair in aside}


def test_one_prompt_with_all_the_votes_is_trained_on(house: House) -> None:
    for i in range(40):  # some of these prompts would be set aside
        pair = separable_pairs(1, start=i)[0]
        assert prompts_set_aside(house, [pair] * 40) == set()


def test_without_pairs_set_aside_the_confidence_is_the_probability_that_was_trained(house: House) -> None:
    pairs = separable_pairs(20)

    description = house.train(pairs, quick(epochs=1), "version").model.description

    assert description.temperature == pytest.approx(1 / description.scale)


def test_the_centre_and_scale_of_many_pairs_come_from_some_of_them(house: House, tmp_path: Path) -> None:
    pairs = separable_pairs(700)
    model = house.train(pairs, quick(epochs=0.01, batch_pairs=8), "version").model

    rewards = score_pairs(model, pairs)

    answers = np.concatenate([rewards.chosen, rewards.rejected])
    assert abs(answers.mean()) < 0.1
    assert answers.std() == pytest.approx(1, abs=0.1)


def test_a_model_whose_last_step_broke_it_is_refused(house: House) -> None:
    recipe = quick(learning_rate=1e38, batch_pairs=8, epochs=1)  # one step: no loss is computed after it

    with pytest.raises(
        TrainingError, match=r"^The trained model's rewards are no numbers; lower the learning rate of recipe 'full'"
    ):
        house.train(separable_pairs(8), recipe, "version")


def test_a_reporter_that_is_not_there_ends_the_round_before_it_trains(house: House, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^REPORT_TO=nowhere cannot be followed"):
        house.train(separable_pairs(8), quick(), "version", report_to="nowhere")

    assert not (tmp_path / "version-work").exists()


def test_a_description_of_an_earlier_build_is_neither_centred_nor_scaled() -> None:
    description = Description("sequence", "embedded", 512)

    assert (description.center, description.scale, math.isclose(description.temperature, 1)) == (0, 1, True)
