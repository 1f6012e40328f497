"""An earlier project's head as one more feature."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from preference.labelling.pairs import PreferencePair
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.model import FrozenRewardModel, load_saved
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, TRAINED_REWARDS, assert_close
from tests.support.trainings import CPU
from trainer.evaluation.pair_rewards import score_pairs
from trainer.training.frozen_head import earlier_share, train_head
from trainer.training.recipes import FROZEN

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "looked",
    "at",
    "moon",
    "short",
    "answer",
    "number",
    "model",
    "people",
    "prefer",
    "question",
    "house",
    "tree",
    "road",
    "boat",
]


@pytest.fixture
def extractor(tiny_base: Path, extractors: Extractors) -> FeatureExtractor:
    return extractors(FeatureRecipe(str(tiny_base), layers=(1, 2), max_tokens=64))


def judged_by_a_teacher(extractor: FeatureExtractor, count: int, *, seed: int) -> list[PreferencePair]:
    """Pairs of random sentences that the same people judge, whatever the seed: by weights of what the base sees, drawn once."""
    chance, pairs = random.Random(seed), []
    texts = [[" ".join(chance.choices(WORDS, k=8)) for _ in range(3)] for _ in range(count)]
    weight = torch.randn(extractor.size, generator=torch.Generator().manual_seed(0))
    prompts, first, second = zip(*texts, strict=True)
    gaps = extractor.features(prompts, first) - extractor.features(prompts, second)
    for (prompt, left, right), gap in zip(texts, (gaps / gaps.std(0).clamp(min=1e-6)) @ weight, strict=True):
        pairs.append(PreferencePair(prompt, left, right) if gap > 0 else PreferencePair(prompt, right, left))
    return pairs


def head_of(extractor: FeatureExtractor, pairs: list[PreferencePair]) -> torch.Tensor:
    model = train_head(pairs, FROZEN, extractor).model
    assert isinstance(model, FrozenRewardModel)
    return model.head.weight


def test_of_few_pairs_a_head_learns_more_beside_an_earlier_one_of_the_same_kind(extractor: FeatureExtractor) -> None:
    earlier = head_of(extractor, judged_by_a_teacher(extractor, 200, seed=1))
    few, held_out = (judged_by_a_teacher(extractor, count, seed=seed) for count, seed in ((15, 2), (200, 3)))

    alone, helped = (train_head(few, FROZEN, extractor, earlier=known).model for known in (None, earlier))

    right = [float(score_pairs(model, held_out).right.mean()) for model in (alone, helped)]
    assert right[1] > right[0] + 0.03, right


def test_many_pairs_that_say_otherwise_overrule_it(extractor: FeatureExtractor) -> None:
    pairs = separable_pairs(80)
    opposite = head_of(extractor, [PreferencePair(pair.prompt, pair.rejected, pair.chosen) for pair in pairs])

    model = train_head(pairs, FROZEN, extractor, earlier=opposite).model

    assert float(score_pairs(model, separable_pairs(40, start=200)).right.mean()) > 0.9


def test_one_that_the_first_judgements_contradict_changes_nothing(extractor: FeatureExtractor) -> None:
    earlier = head_of(extractor, judged_by_a_teacher(extractor, 200, seed=1))
    few = judged_by_a_teacher(extractor, 15, seed=2)

    alone, contradicted = (train_head(few, FROZEN, extractor, earlier=known).model for known in (None, -earlier))

    assert_close(score_pairs(contradicted, few).gaps, score_pairs(alone, few).gaps, within=TRAINED_REWARDS)


def test_it_counts_as_far_as_the_judgements_of_different_prompts_speak_for_it() -> None:
    def share(agreeing: int, others: int, *, num_prompts: int = 1000) -> float:
        pairs = [PreferencePair(f"Prompt {i % num_prompts}", "a", "b") for i in range(agreeing + others)]
        return earlier_share(pairs, np.array([0.7] * agreeing + [-0.1] * others))

    assert share(3, 0) == pytest.approx(2)  # z^2 is 9 / 3
    assert share(18, 12) == pytest.approx(36 / 30 - 1)
    assert share(0, 0) == share(1, 0) == share(15, 15) == share(10, 20) == share(0, 30) == 0
    assert share(30, 0) == share(300, 0) == 4
    assert share(30, 0, num_prompts=3) == pytest.approx(2)  # as three


def test_what_it_learnt_is_in_its_own_weights_and_the_size_of_the_earlier_ones_does_not_count(
    extractor: FeatureExtractor, extractors: Extractors, tmp_path: Path
) -> None:
    earlier = head_of(extractor, separable_pairs(60))
    pairs = separable_pairs(12, start=100)
    model = train_head(pairs, FROZEN, extractor, earlier=earlier).model

    model.save(tmp_path)
    loaded = load_saved(tmp_path, extractor=extractors, device=CPU)
    thrice = train_head(pairs, FROZEN, extractor, earlier=3 * earlier).model

    rewards = [score_pairs(each, pairs).gaps for each in (model, loaded, thrice)]
    assert_close(rewards[1], rewards[0], within=REWARDS)
    assert_close(rewards[2], rewards[0], within=TRAINED_REWARDS)
