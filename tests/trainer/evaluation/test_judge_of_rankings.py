"""A ranked prompt is one comparison for the judge, however many pairs its ranking has."""

from itertools import combinations

import numpy as np
import pytest

from preference.labelling.holdout import MIN_HOLDOUT
from preference.labelling.pairs import PreferencePair
from tests.support.known_rewards import KnowsRewards
from trainer.evaluation.judge import LoadedChampion, judge
from trainer.evaluation.pair_rewards import once_each

TRAIN = [PreferencePair(f"train {i}", "right", "wrong") for i in range(20)]


def ranked(num_prompts: int, *, num_answers: int = 5) -> list[PreferencePair]:
    """All pairs of as many rankings: the answer of the lower number is the better one; all are as long."""
    return [
        PreferencePair(f"prompt {prompt}", f"{prompt:02} {better}", f"{prompt:02} {worse}", kind="ranking", weight=0.1)
        for prompt in range(num_prompts)
        for better, worse in combinations(range(num_answers), 2)
    ]


def model(pairs: list[PreferencePair], *, turned: int = 0) -> KnowsRewards:
    """One that orders every list as people do, but for as many prompts from the first on, of which it turns the last two round."""
    rewards = {}
    for text in {text for pair in pairs for text in (pair.chosen, pair.rejected)}:
        prompt, place = map(int, text.split())
        rewards[text] = -float({3: 4, 4: 3}.get(place, place) if prompt < turned else place)
    return KnowsRewards(rewards)


def test_the_pairs_of_one_prompt_have_one_value_and_votes_one_each() -> None:
    votes = [PreferencePair("prompt 0", "a", "b"), PreferencePair("Prompt 0.", "a", "c")]
    pairs = [*ranked(2, num_answers=3), *votes]

    assert once_each(np.array([1.0, 0, 0, 1, 1, 1, 0, 1]), pairs).tolist() == pytest.approx([1 / 3, 1, 0, 1])
    assert once_each(np.zeros(0), []).tolist() == []


def test_seven_rankings_of_five_are_no_evidence_and_eight_are() -> None:
    few, enough = ranked(MIN_HOLDOUT - 1), ranked(MIN_HOLDOUT)
    refused, taken = (judge(model(pairs), None, pairs, train=TRAIN) for pairs in (few, enough))

    assert len(few) == 70
    assert (refused.promoted, refused.reason) == (False, "only 7 held-out pairs, 8 are needed")
    assert taken.promoted and (taken.metrics.num_pairs, taken.metrics.accuracy) == (8, 1.0)


def test_the_accuracy_is_the_mean_over_prompts_and_so_is_its_interval() -> None:
    pairs = ranked(20)

    metrics = judge(model(pairs, turned=10), None, pairs, train=TRAIN).metrics

    assert (metrics.num_pairs, metrics.accuracy) == (20, 0.95)  # half of the rankings have nine of ten pairs right
    assert metrics.interval is not None and metrics.interval[0] < 0.8, "as wide as that of 20 comparisons, and not of 200"


def test_a_champion_is_compared_by_prompts() -> None:
    pairs = ranked(20)
    champion = LoadedChampion(model(pairs, turned=4), None)

    metrics = judge(model(pairs), champion, pairs, train=TRAIN).metrics

    assert (metrics.champion, metrics.gain) == (0.98, 0.02)
    assert metrics.p_better == pytest.approx(1 / 2**4, abs=1e-4), "four prompts differ"
