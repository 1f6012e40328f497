from pathlib import Path

import pytest
import torch

from preference.labelling.pairs import PreferencePair
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, assert_close
from trainer.aligning.held_back import HeldBackJudge
from trainer.evaluation.pair_rewards import score_pairs

VOTES = separable_pairs(40)


@pytest.fixture(scope="module")
def extractor(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    extractors = Extractors(tmp_path_factory.mktemp("judge"), torch.device("cpu"))
    return extractors(FeatureRecipe(str(tiny_base), layers=(1, 2, 3), max_tokens=256))


def turned(pair: PreferencePair, *, prompt: str = "") -> PreferencePair:
    return PreferencePair(prompt or pair.prompt, pair.rejected, pair.chosen)


def test_it_learns_what_people_prefer_from_votes_on_other_prompts(extractor: FeatureExtractor) -> None:
    judge = HeldBackJudge(VOTES, extractor)

    assert score_pairs(judge, VOTES).right.mean() > 0.9
    assert score_pairs(judge, separable_pairs(20, start=100)).right.mean() > 0.9
    assert score_pairs(judge, []).right.shape == (0,)


def test_what_people_said_of_a_prompt_does_not_judge_answers_to_it(extractor: FeatureExtractor) -> None:
    first, second, *others = VOTES
    contrary = [turned(first), turned(first, prompt=f"{str(first.prompt).upper()}!")] * 5  # in capitals, it is a twin

    usual, changed = (
        HeldBackJudge([*votes, second, *others], extractor).score([first.prompt, second.prompt], [first.chosen, second.chosen])
        for votes in ([first], contrary)
    )

    assert_close(usual[0], changed[0], within=REWARDS)
    assert abs(float(usual[1] - changed[1])) > 0.1
