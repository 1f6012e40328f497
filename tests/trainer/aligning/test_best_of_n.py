from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from preference.errors import CannotLearn, TrainingError
from preference.generation.jobs import WrittenAnswers
from preference.projects.generators import BASE, Generators
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from tests.support.adapters import publish_generator
from tests.support.aligned_house import AlignedHouse
from tests.support.known_rewards import KnowsRewards
from tests.support.ranked_lists import ORDER
from tests.support.statuses import status_of
from tests.support.versions import publish_version
from trainer.aligning.alignment import ALIGNMENT
from trainer.aligning.best_of_n import BestOfN, best_of, measure_best_of_n
from trainer.rounds.lock import only_one
from trainer.rounds.round import run_round


def measure(house: AlignedHouse, *, at: Callable[[], object] = lambda: None) -> BestOfN:
    """`at` is called while it measures."""

    def say(line: str) -> None:
        house.said.append(line)
        at()

    house.said.clear()
    extractors = Extractors(house.settings.model_dir, torch.device("cpu"))
    return measure_best_of_n(house.project, house.folder, house.settings, extractors=extractors, say=say)


def serve_a_reward_model(house: AlignedHouse) -> str:
    """One that learnt from what is not held out."""
    run_round(house.project, house.folder, house.settings, extractors=Extractors(house.settings.model_dir, torch.device("cpu")))
    champion = Versions(house.folder).champion()
    assert champion is not None
    return champion


def test_the_best_of_seven_wins_as_often_as_a_perfect_choice_could_and_nothing_is_published(house: AlignedHouse) -> None:
    house.judge(120)
    champion = serve_a_reward_model(house)

    standing = []
    measured = measure(house, at=lambda: standing.append(status_of(house.folder)))

    (status,) = standing
    assert status.is_measuring and not status.is_aligning and not status_of(house.folder).is_measuring
    figures = measured.figures
    assert (measured.num_candidates, measured.num_written, measured.is_set) == (7, 2, False)
    assert (measured.chosen_by, measured.compared_with) == (champion, BASE)
    assert figures.num_prompts is not None and 30 < figures.num_prompts <= 60 and figures.kl is None
    # Who chooses as the judge would, wins 7 of 8 times against another draw; an answer that met itself would make it 13 of 14.
    assert figures.wins.value is not None and 0.7 < figures.wins.value < 0.9
    assert measured.verdict.promoted and figures.length_controlled.value is not None
    assert house.said == [
        f"{BASE} writes 7 candidates, 2 times, to {figures.num_prompts} held-out prompts, and {champion} chooses"
    ]
    won, _, cost, advice = measured.lines()
    assert won.startswith(f"the best of 7 answers by {champion} wins {100 * figures.wins.value:.1f} % (95 % interval ")
    assert f" at equal length; on {figures.num_prompts} held-out prompts, " in won
    assert cost == "it takes 7 answers written and scored a task; now NUM_CANDIDATES=2"
    assert advice.startswith("set NUM_CANDIDATES=7 and PAIR_STRATEGY=best_vs_random, and one of the two answers of a task is")
    assert Generators(house.folder).all() == [] and Generators(house.folder).champion() == BASE
    assert not (house.folder.path / "aligning").exists()


def test_the_served_version_writes_as_many_candidates_as_are_set(house: AlignedHouse, tiny_chat_base: Path) -> None:
    house.settings = house.settings.replace(num_candidates=4, pair_strategy="best_vs_random", max_new_tokens=8)
    house.judge(90)
    house.folder.create()
    Versions(house.folder).promote(publish_version(house.folder, tiny_chat_base, weight=1))
    version = publish_generator(house.folder, house.settings, tiny_chat_base)

    measured = measure(house)

    assert (measured.num_candidates, measured.compared_with, measured.is_set) == (4, version, True)
    advice = measured.lines()[-1]
    if measured.verdict.promoted:
        assert (
            advice
            == "NUM_CANDIDATES=4 and PAIR_STRATEGY=best_vs_random are set already: one of the two answers of a task is the best of 4"
        )
    else:
        assert advice == f"it is not known to be better: {measured.verdict.reason}; the settings may stay as they are"


def test_of_each_group_the_highest_reward_is_chosen_and_an_empty_answer_is_none() -> None:
    chooser = KnowsRewards({"a": 1.0, "b": 2.0, "c": 3.0, "": 9.0})
    reasons = ["stop", "length", "stop", "stop", "stop", "stop"]
    written = WrittenAnswers(["a", "b", "", "c", "a", ""], finish_reasons=reasons, version="g1")

    chosen = best_of(chooser, "Why?", written, count=3)

    assert (chosen.answers, chosen.finish_reasons, chosen.version) == (["b", "c"], ["length", "stop"], "g1")
    assert best_of(chooser, "Why?", WrittenAnswers(["", "", ""]), count=3).answers == [""]
    assert best_of(chooser, "Why?", WrittenAnswers([], refused="no"), count=3) == WrittenAnswers([], refused="no")


# What cannot be


def refused(house: AlignedHouse, error: type[Exception] = CannotLearn) -> str:
    with pytest.raises(error) as caught:
        measure(house)
    assert house.said == []
    return str(caught.value)


def test_without_a_reward_model_there_is_nothing_to_choose_by(house: AlignedHouse) -> None:
    assert refused(house) == "Project 1 serves no reward model to choose by; `pairloop-trainer once` trains one."
    assert not house.folder.path.exists()


def test_an_engine_without_a_model_is_named(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(generator_engine="echo")
    assert refused(house).startswith("GENERATOR_ENGINE=echo writes with no model that could learn; set")


def test_what_is_missing_is_said_before_anything_is_written(house: AlignedHouse, tiny_chat_base: Path) -> None:
    house.folder.create()
    Versions(house.folder).promote(publish_version(house.folder, tiny_chat_base, weight=1))
    house.judge(10)
    assert "held-out prompts with judgements to judge by, 16 are needed, without ties; judge more." in refused(house)

    with only_one(house.folder, ALIGNMENT):
        assert "in the middle of an alignment of project 1" in refused(house, TrainingError)
    house.studio.projects[house.project.id]["label_config"] = ORDER
    assert refused(house).startswith("Project 1 has lists ordered, which show every answer that differs;")
