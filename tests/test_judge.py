import math
from collections.abc import Sequence

import pytest
import torch

from preference.pairs import PreferencePair
from preference.reward_model import RewardModel
from trainer.judge import MIN_HOLDOUT, judge


class KnowsRewards(RewardModel):
    """A reward model whose rewards are written down, by answer."""

    def __init__(self, rewards: dict[str, float]) -> None:
        self._rewards = rewards  # no weights and no tokenizer: the judge only asks for scores

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        return torch.tensor([self._rewards[answer] for answer in answers])

    def _save_weights(self, folder: object) -> None:
        raise NotImplementedError


def holdout(num_pairs: int, *, num_longer: int, num_equal: int = 0) -> list[PreferencePair]:
    """Pairs whose chosen answer is the longer one in the first `num_longer`, as long in the next `num_equal`."""
    pairs = []
    for i in range(num_pairs):
        length = 9 if i < num_longer else 5 if i < num_longer + num_equal else 2
        pairs.append(PreferencePair(f"prompt {i}", f"c{i:02}".ljust(length + 3, "."), f"r{i:02}".ljust(8, ".")))
    return pairs


def model(pairs: Sequence[PreferencePair], *, right: Sequence[int]) -> RewardModel:
    """A model that is right on the pairs of these numbers, and wrong on the others."""
    rewards = {pair.rejected: 0.0 for pair in pairs}
    rewards.update({pair.chosen: 1.0 if i in right else -1.0 for i, pair in enumerate(pairs)})
    return KnowsRewards(rewards)


def test_too_few_held_out_pairs_are_no_evidence() -> None:
    pairs = holdout(MIN_HOLDOUT - 1, num_longer=3)

    verdict = judge(model(pairs, right=range(7)), None, pairs)

    assert (verdict.promoted, verdict.reason) == (False, "only 7 held-out pairs, 8 are needed")
    assert verdict.metrics == {"num_pairs": 7, "accuracy": 1.0}


def test_no_held_out_pairs_at_all_are_no_evidence() -> None:
    verdict = judge(KnowsRewards({}), None, [])

    assert (verdict.promoted, verdict.reason) == (False, "only 0 held-out pairs, 8 are needed")
    assert verdict.metrics == {"num_pairs": 0, "accuracy": 0.0}


def test_as_many_pairs_as_are_needed_suffice() -> None:
    pairs = holdout(MIN_HOLDOUT, num_longer=4)

    assert judge(model(pairs, right=range(MIN_HOLDOUT)), None, pairs).promoted


def test_a_challenger_below_longer_answer_wins_is_kept_back() -> None:
    pairs = holdout(10, num_longer=8)

    verdict = judge(model(pairs, right=range(7)), None, pairs)

    assert (verdict.promoted, verdict.reason) == (False, "accuracy 0.700 is below longer-answer-wins 0.800")


def test_a_challenger_below_shorter_answer_wins_is_kept_back() -> None:
    pairs = holdout(10, num_longer=1)

    verdict = judge(model(pairs, right=range(8)), None, pairs)

    assert (verdict.promoted, verdict.reason) == (False, "accuracy 0.800 is below shorter-answer-wins 0.900")
    assert (verdict.metrics["longer_wins"], verdict.metrics["shorter_wins"]) == (0.1, 0.9)


def test_a_challenger_below_the_champion_is_kept_back() -> None:
    pairs = holdout(10, num_longer=5)

    verdict = judge(model(pairs, right=range(7)), model(pairs, right=range(2, 10)), pairs)

    assert (verdict.promoted, verdict.reason) == (False, "accuracy 0.700 is below the champion's 0.800")
    assert (verdict.metrics["champion"], verdict.metrics["gain"]) == (0.8, -0.1)


def test_below_both_the_length_rule_is_the_reason() -> None:
    pairs = holdout(10, num_longer=8)

    verdict = judge(model(pairs, right=range(3)), model(pairs, right=range(10)), pairs)

    assert verdict.reason == "accuracy 0.300 is below longer-answer-wins 0.800"
    assert verdict.metrics["champion"] == 1.0, "the figures are there all the same"


def test_without_a_champion_the_length_rule_is_the_bar() -> None:
    pairs = holdout(10, num_longer=8)

    verdict = judge(model(pairs, right=range(8)), None, pairs)

    assert verdict.promoted
    assert verdict.reason == "accuracy 0.800, longer-answer-wins has 0.800, and there was no champion"
    assert "champion" not in verdict.metrics


def test_at_equal_accuracy_the_challenger_wins() -> None:
    pairs = holdout(10, num_longer=4)

    verdict = judge(model(pairs, right=range(9)), model(pairs, right=range(1, 10)), pairs)

    assert verdict.promoted
    assert verdict.reason == "accuracy 0.900, shorter-answer-wins has 0.600, the champion has 0.900"


def test_equal_rewards_are_not_right() -> None:
    pairs = holdout(10, num_longer=5)
    undecided = KnowsRewards({answer: 0.5 for pair in pairs for answer in (pair.chosen, pair.rejected)})

    verdict = judge(undecided, None, pairs)

    assert verdict.metrics["accuracy"] == 0.0
    assert not verdict.promoted


def test_equal_lengths_are_half_right_for_both_rules() -> None:
    pairs = holdout(10, num_longer=6, num_equal=2)

    metrics = judge(model(pairs, right=range(10)), None, pairs).metrics

    assert (metrics["longer_wins"], metrics["shorter_wins"]) == (0.7, 0.3)


def test_the_interval_is_wilsons() -> None:
    pairs, n, p, z = holdout(40, num_longer=20), 40, 0.75, 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))

    metrics = judge(model(pairs, right=range(30)), None, pairs).metrics

    assert metrics["accuracy"] == 0.75
    assert metrics["interval"] == pytest.approx([middle - half, middle + half], abs=1e-4)


def test_the_gain_has_an_interval_that_is_the_same_for_the_same_seed() -> None:
    pairs = holdout(40, num_longer=20)
    challenger, champion = model(pairs, right=range(30)), model(pairs, right=range(10, 36))  # gains 10 pairs, loses 6

    metrics = judge(challenger, champion, pairs, seed=1).metrics
    low, high = metrics["gain_interval"]

    assert metrics["gain"] == 0.1
    assert low < 0 < 0.1 < high, "16 pairs that differ, 10 to 6: it may be noise"
    assert (low, high) == pytest.approx((-0.1, 0.3), abs=0.03)  # the normal approximation: 0.1 -+ 1.96 * 0.0987
    assert judge(challenger, champion, pairs, seed=1).metrics == metrics


def test_the_same_outcomes_have_no_gain_and_no_width() -> None:
    pairs = holdout(10, num_longer=5)
    same = model(pairs, right=range(8))

    metrics = judge(same, same, pairs).metrics

    assert (metrics["gain"], metrics["gain_interval"]) == (0.0, [0.0, 0.0])


def test_a_gain_on_every_pair_is_certain() -> None:
    pairs = holdout(10, num_longer=5)

    metrics = judge(model(pairs, right=range(10)), model(pairs, right=[]), pairs).metrics

    assert (metrics["gain"], metrics["gain_interval"]) == (1.0, [1.0, 1.0])
