import random
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from backend.filling.pair_strategies import STRATEGIES, WITH_REWARDS, Candidates, different_pairs, similarity
from preference.generation.jobs import WrittenAnswers
from preference.setting_groups import FillingSettings
from tests.support.filling_house import House

TEXTS = [
    "The cat sat on the mat.",
    "The cat sat on that mat.",
    "Rain.",
    "Nobody knows what the moon is for.",
    "The moon, perhaps.",
]


def candidates(rewards: list[float] | None, *, pairs: list[tuple[int, int]] | None = None, seed: int = 0) -> Candidates:
    return Candidates(TEXTS, rewards, different_pairs(TEXTS, 1) if pairs is None else pairs, seed)


def test_similarity_is_one_for_the_same_text_and_zero_for_nothing_in_common() -> None:
    assert similarity("The  cat\n", "the CAT") == 1
    assert similarity("abc", "xyz") == 0
    assert 0.9 < similarity(TEXTS[0], TEXTS[1]) < 1
    assert similarity(TEXTS[0], TEXTS[3]) == similarity(TEXTS[3], TEXTS[0]) < 0.6


def test_similarity_is_the_share_of_letters_that_an_edit_keeps() -> None:
    assert similarity("abcd", "abxd") == pytest.approx(6 / 8)  # one out, one in, of eight letters
    assert similarity("ab", "abcdef") == pytest.approx(4 / 8)


def test_different_pairs_are_those_of_texts_that_are_full_and_less_alike_than_asked() -> None:
    texts = ["one", "", "ONE ", "two", " \n"]

    assert different_pairs(texts, 1) == [(0, 3), (2, 3)]
    assert different_pairs(TEXTS, 0.9) == [pair for pair in different_pairs(TEXTS, 1) if pair != (0, 1)]
    assert different_pairs(["same", "Same"], 1) == []
    assert different_pairs([], 0.9) == []


def test_the_strategies_are_those_that_the_setting_names() -> None:
    assert set(STRATEGIES) == set(get_args(FillingSettings.__annotations__["pair_strategy"]))
    assert set(STRATEGIES) > WITH_REWARDS


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_takes_one_of_the_pairs_and_the_same_one_again(strategy: str) -> None:
    chance = random.Random(0)
    for seed in range(200):
        pairs = sorted(chance.sample(different_pairs(TEXTS, 1), chance.randint(1, 10)))
        rewards = [chance.uniform(-9, 9) for _ in TEXTS] if seed % 4 else None
        given = candidates(rewards, pairs=pairs, seed=seed)

        assert STRATEGIES[strategy](given) in pairs
        assert STRATEGIES[strategy](given) == STRATEGIES[strategy](given)


@pytest.mark.parametrize("strategy", sorted({"random", *WITH_REWARDS}))
def test_without_rewards_any_pair_is_taken(strategy: str) -> None:
    assert STRATEGIES[strategy](candidates(None, pairs=[(1, 3), (0, 2)])) == (1, 3)


def test_uncertain_takes_the_pair_with_the_nearest_rewards() -> None:
    assert STRATEGIES["uncertain"](candidates([-2.0, 7.0, 0.0, 1.5, 7.2])) == (1, 4)
    assert STRATEGIES["uncertain"](candidates([-2.0, 7.0, 0.0, 1.5, 7.2], pairs=[(0, 1), (2, 3), (3, 4)])) == (2, 3)


def test_diverse_takes_the_pair_that_is_least_alike() -> None:
    chosen = STRATEGIES["diverse"](candidates([0.0] * 5))

    alike = {pair: similarity(TEXTS[pair[0]], TEXTS[pair[1]]) for pair in different_pairs(TEXTS, 1)}
    assert alike[chosen] == min(alike.values())
    assert STRATEGIES["diverse"](candidates(None, pairs=[(0, 1), (0, 4), (0, 3)])) == min(
        [(0, 1), (0, 4), (0, 3)], key=lambda pair: alike[pair]
    )


def test_best_vs_random_takes_the_best_with_each_of_its_partners_in_turn() -> None:
    rewards = [0.0, 1.0, 5.0, -1.0, 2.0]

    chosen = {STRATEGIES["best_vs_random"](candidates(rewards, seed=seed)) for seed in range(100)}
    without_the_best = {
        STRATEGIES["best_vs_random"](candidates(rewards, pairs=[(0, 1), (1, 4), (3, 4), (0, 3)], seed=seed))
        for seed in range(100)
    }

    assert chosen == {(0, 2), (1, 2), (2, 3), (2, 4)}
    assert without_the_best == {(1, 4), (3, 4)}


# Which two a visit shows


CANDIDATES = [
    "The moon pulls the sea towards it, and so the tide comes in twice a day.",
    "Tides.",
    "It has to do with gravity, as most things do.",
    "The moon pulls the sea towards it, and so the tide comes in twice a day!",  # like the first
    "Nobody is quite sure, but they say that the moon and the sun both pull at the water of the seas, each in its turn.",
]


@pytest.mark.parametrize("strategy", ["random", "uncertain", "diverse", "best_vs_random"])
def test_the_pair_that_is_shown_is_the_strategys_by_the_served_models_rewards(
    house: House, tiny_base: Path, strategy: Any
) -> None:
    house.settings = house.settings.replace(num_candidates=5, pair_strategy=strategy)
    house.promote(tiny_base, weight=1)
    serving = house.champions.of(house.project_id).serving
    assert serving is not None
    tasks = house.add_prompts(12)
    house.generator.write = lambda job: WrittenAnswers(CANDIDATES[: job.num_answers])

    assert house.run_pass()

    pairs = [pair for pair in combinations(range(5), 2) if pair != (0, 3)]
    for n, task in enumerate(tasks):
        record = house.record(task)
        rewards = serving.model.score([f"Prompt {n}"] * 5, CANDIDATES).tolist()
        chosen = tuple(sorted((record["left_sample"], record["right_sample"])))
        assert house.answers(task) == (CANDIDATES[record["left_sample"]], CANDIDATES[record["right_sample"]])
        assert (record["strategy"], record["candidates"], record["filled"]) == (strategy, 5, ["answer1", "answer2"])
        assert record["rewards"] == pytest.approx(rewards, abs=1e-3)
        assert chosen in pairs
        if strategy == "uncertain":
            assert chosen == min(pairs, key=lambda pair: abs(rewards[pair[0]] - rewards[pair[1]]))
        elif strategy == "diverse":
            assert chosen == min(pairs, key=lambda pair: similarity(CANDIDATES[pair[0]], CANDIDATES[pair[1]]))
        elif strategy == "best_vs_random":
            assert rewards.index(max(rewards)) in chosen
    lefts = [house.record(task)["left_sample"] < house.record(task)["right_sample"] for task in tasks]
    assert len(set(lefts)) == 2  # on both sides
    if strategy == "best_vs_random":
        assert len({house.record(task)["left_sample"] + house.record(task)["right_sample"] for task in tasks}) > 1


def test_without_a_champion_a_strategy_by_rewards_takes_any_pair_and_says_so(house: House) -> None:
    house.settings = house.settings.replace(num_candidates=3, pair_strategy="uncertain")
    (task,) = house.add_prompts(1)

    assert house.run_pass()

    assert house.is_answered(task)
    assert house.record(task)["strategy"] == "random" and "rewards" not in house.record(task)


def test_candidates_for_a_half_answered_task_are_compared_with_its_answer(house: House, tiny_base: Path) -> None:
    house.settings = house.settings.replace(num_candidates=5, pair_strategy="uncertain")
    house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "Why?", "answer1": "", "answer2": CANDIDATES[0]})
    house.generator.write = lambda job: WrittenAnswers(CANDIDATES)

    assert house.run_pass()

    record = house.record(task)
    assert house.answers(task) == (CANDIDATES[record["left_sample"]], CANDIDATES[0])
    assert record["filled"] == ["answer1"] and "right_sample" not in record
    assert len(record["rewards"]) == record["candidates"] == 6
    gaps = [abs(reward - record["rewards"][0]) for reward in record["rewards"][1:]]
    allowed = {place: gap for place, gap in enumerate(gaps) if place not in (0, 3)}  # those are like what is there
    assert record["left_sample"] == min(allowed, key=lambda place: allowed[place])
