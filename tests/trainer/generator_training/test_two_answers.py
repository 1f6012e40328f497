"""Two answers in one text, beside each by itself."""

from typing import Any

import pytest
import torch
from transformers import BloomConfig, GPTNeoConfig, LlamaConfig, PreTrainedConfig, PreTrainedModel, Qwen2Config

from preference.generation.log_probs import log_probs
from tests.support.small_generators import ARCHITECTURES, random_model, token_pairs
from tests.support.tolerance import FEATURES, assert_close
from tests.support.word_models import NUM_WORDS, SIZES
from trainer.generator_training.recipe import DPO
from trainer.generator_training.top_layers import Tokens, TopLayers
from trainer.generator_training.two_answers import log_probs_of_two, takes_two_answers

TAKES_TWO = {"Llama", "Qwen 3", "GPT-NeoX", "OPT, positions that begin at 2"}


def moved(model: PreTrainedModel) -> TopLayers:
    layers = TopLayers(model, DPO, seed=0)
    torch.manual_seed(1)
    for weights in layers.weights:
        torch.nn.init.normal_(weights, std=0.1)
    return layers


def tokens_seen(model: Any) -> list[int]:
    """How many tokens the head's own layer has read, call by call."""
    seen: list[int] = []
    model.model.layers[-1].register_forward_pre_hook(lambda layer, args: seen.append(args[0].shape[1]))
    return seen


@pytest.mark.parametrize("name", sorted(TAKES_TWO))
def test_each_token_is_as_likely_as_in_a_text_of_its_own(name: str) -> None:
    model = random_model(ARCHITECTURES[name]())
    for first, second in token_pairs(4, vocabulary=NUM_WORDS):
        start = first.start

        of_first, of_second = log_probs_of_two(model, first.ids[:start], first.ids[start:], second.ids[start:])

        assert_close(of_first, log_probs(model, first.ids, start=start), within=FEATURES)
        assert_close(of_second, log_probs(model, second.ids, start=start), within=FEATURES)


def test_answers_of_one_token_see_the_prompt_alone() -> None:
    model = random_model(LlamaConfig(**SIZES))

    of_first, of_second = log_probs_of_two(model, [5, 6], [7], [8])

    assert_close(of_first, log_probs(model, [5, 6, 7], start=2), within=FEATURES)
    assert_close(of_second, log_probs(model, [5, 6, 8], start=2), within=FEATURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_top_layers_read_and_compute_two_as_they_do_each(name: str) -> None:
    model = random_model(ARCHITECTURES[name]())
    layers = TopLayers(model, DPO, seed=0)
    pairs = token_pairs(3, vocabulary=NUM_WORDS)
    each = [tuple(layers.read(tokens) for tokens in pair) for pair in pairs]
    together = [layers.read_two(*pair) for pair in pairs]
    torch.manual_seed(1)
    for weights in layers.weights:
        torch.nn.init.normal_(weights, std=0.1)

    assert layers._takes_two == (name in TAKES_TWO)
    for alone, read in zip(each, together, strict=True):
        for one, other in zip(alone, read, strict=True):
            assert other.reference == pytest.approx(one.reference, abs=FEATURES)
            assert_close(other.hidden, one.hidden, within=FEATURES)
        wanted = [layers.log_prob(text) for text in alone]
        found = layers.log_probs(*read)
        assert_close(torch.stack(found).detach(), torch.stack(wanted).detach(), within=FEATURES)
        for got, expected in zip(
            torch.autograd.grad(found[0] - found[1], layers.weights),
            torch.autograd.grad(wanted[0] - wanted[1], layers.weights),
            strict=True,
        ):
            assert_close(got, expected, within=1e-3)


def test_the_prompt_is_computed_once() -> None:
    model = random_model(LlamaConfig(**SIZES))
    layers = moved(model)
    first, second = Tokens([4, 5, 6, 7, 8, 9], 4), Tokens([4, 5, 6, 7, 10, 11, 12], 4)
    read = layers.read(first), layers.read(second)
    seen = tokens_seen(model)

    layers.log_probs(*read)
    layers.read_two(first, second)

    assert seen == [4 + 1 + 2, 4 + 1 + 2]  # an answer's last token is not read


def test_the_first_pair_is_read_by_the_path_by_which_it_learns() -> None:
    """In bfloat16 the other path's log-probabilities differ by more than rounding does in one."""
    model = random_model(LlamaConfig(**SIZES))
    layers = TopLayers(model, DPO, seed=0)
    seen = tokens_seen(model)

    layers.read_two(Tokens([4, 5, 6, 7, 8, 9], 4), Tokens([4, 5, 6, 7, 10, 11, 12], 4))

    assert seen[-1] == 4 + 1 + 2


@pytest.mark.parametrize(
    "second",
    [Tokens([4, 5, 7], 2), Tokens([4, 9, 7, 8], 3), Tokens([4, 5, 6, 7, 8], 3, range(4, 5))],
    ids=["another length of prompt", "another prompt", "a marker"],
)
def test_what_does_not_fit_together_is_computed_apart(second: Tokens) -> None:
    model = random_model(LlamaConfig(**SIZES))
    layers = moved(model)
    first = Tokens([4, 5, 6, 7], 3)
    read = layers.read(first), layers.read(second)
    seen = tokens_seen(model)

    found = layers.log_probs(*read)

    assert seen == [len(first.ids) - 1, len(second.ids) - 1]
    assert_close(torch.stack(found).detach(), [float(layers.log_prob(text).detach()) for text in read], within=FEATURES)


@pytest.mark.parametrize(
    ("config", "takes"),
    [
        (Qwen2Config(**SIZES), True),
        (Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1), False),
        (
            GPTNeoConfig(
                vocab_size=NUM_WORDS, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
            ),
            False,
        ),
        (GPTNeoConfig(vocab_size=NUM_WORDS, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]]), True),
        (BloomConfig(vocab_size=NUM_WORDS, hidden_size=32, n_layer=2, n_head=4), False),  # has no positions to give
    ],
    ids=["sees all", "sees a part", "sees a part by turns", "sees all as well", "ALiBi"],
)
def test_a_layer_that_sees_a_part_of_a_text_is_given_no_mask(config: PreTrainedConfig, takes: bool) -> None:
    assert takes_two_answers(random_model(config)) is takes
