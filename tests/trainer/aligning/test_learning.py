"""What a method is given to read of each comparison."""

import pytest
from transformers import LlamaConfig

from tests.support.small_generators import random_model
from tests.support.word_models import SIZES
from trainer.aligning.learning import _read
from trainer.generator_training.recipe import KTO
from trainer.generator_training.top_layers import Tokens, TopLayers


@pytest.mark.parametrize("others", [[[8, 9]], [[8, 9], [9, 8]], []], ids=["one other prompt", "two", "none"])
def test_the_reference_point_is_by_answers_to_other_prompts_though_a_ranking_has_one(others: list[list[int]]) -> None:
    prompts = [[5, 6], [5, 6], [5, 6], *others]
    encoded = [(Tokens([*prompt, 10 + i], 2), Tokens([*prompt, 20 + i], 2)) for i, prompt in enumerate(prompts)]
    layers = TopLayers(random_model(LlamaConfig(**SIZES)), KTO, seed=0)

    read = _read(layers, encoded, KTO, margins=[0.0] * len(encoded))

    assert [pair.chosen.tokens for pair in read] == [chosen for chosen, _ in encoded]
    for pair, prompt in zip(read, prompts, strict=True):
        if not others:
            assert pair.mismatched is None
            continue
        assert pair.mismatched is not None
        ids = pair.mismatched.tokens.ids
        assert ids[:2] == prompt and prompts[ids[2] - 10] != prompt
