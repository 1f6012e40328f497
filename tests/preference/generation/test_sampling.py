import math
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare, kstest
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from preference.generation.sampling import draw, uniforms
from preference.models.pretrained import load_tokenizer, load_weights, locate

PROMPTS = ["My favourite thing in the world is", "She opened the door and saw"]  # many tokens may follow
NUM_TOKENS = 8192  # of the vocabulary of 49,152, the oldest of a byte-pair encoding: the frequent ones
SAMPLINGS = [(0.7, 50, 1.0), (1.0, 50, 0.9), (1.3, 1000, 0.95), (0.5, 1_000_000, 0.8)]  # temperature, top_k, top_p
BELOW_1 = 1 - 2**-24  # the largest number that torch.rand gives


@pytest.fixture(scope="module")
def logits(embedded_dir: Path) -> torch.Tensor:
    """(num_prompts, NUM_TOKENS) of the embedded model."""
    path = locate("embedded", embedded_dir)
    tokenizer, model = load_tokenizer(path), load_weights(AutoModelForCausalLM, path, dtype=torch.float32)
    with torch.inference_mode():
        rows = [
            model(input_ids=tokenizer(prompt, return_tensors="pt")["input_ids"]).logits[0, -1, :NUM_TOKENS] for prompt in PROMPTS
        ]
    return torch.stack(rows)


def warped(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """(num_rows, vocabulary) probabilities as transformers' generate makes them."""
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k)]
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    no_ids = torch.zeros(len(logits), 0, dtype=torch.long)
    scores = LogitsProcessorList(warpers)(no_ids, logits.clone())  # type: ignore[arg-type]
    return scores.double().softmax(-1)


def p_value(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """Pearson's test; tokens that are expected fewer than five times count as one."""
    order = expected.argsort(descending=True)
    counts, expected = counts[order].double(), expected[order].double()
    num_common = int((expected >= 5).sum())
    observed = torch.cat([counts[:num_common], counts[num_common:].sum()[None]])
    wanted = torch.cat([expected[:num_common], expected[num_common:].sum()[None]])
    keep = wanted > 1e-9
    return float(chisquare(observed[keep].numpy(), (wanted * observed.sum() / wanted.sum())[keep].numpy()).pvalue)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SAMPLINGS)
def test_tokens_are_drawn_as_transformers_warpers_say(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> None:
    # To sort a vocabulary takes milliseconds a row.
    num_rows, num_draws = (1, 500) if top_k > 10_000 else (len(logits), 3000)
    generator = torch.Generator().manual_seed(0)
    wanted = warped(logits, temperature, top_k, top_p)

    for row in range(num_rows):
        counts = torch.zeros(logits.shape[1], dtype=torch.long)
        for _ in range(0, num_draws, 250):
            many, uniform = logits[row].expand(250, -1), torch.rand(250, generator=generator)
            drawn = draw(many, uniform, temperature=temperature, top_k=top_k, top_p=top_p)
            counts += drawn.bincount(minlength=len(counts))
        assert not counts[wanted[row] == 0].any()
        assert p_value(counts, wanted[row] * num_draws) > 1e-3


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SAMPLINGS)
def test_every_kept_token_has_its_share_of_the_uniform_numbers(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> None:
    # A fine comb of numbers finds each token as often as it is likely, without the noise of chance.
    wanted, num_teeth = warped(logits, temperature, top_k, top_p), 128

    for row in range(len(logits)):
        comb, many = (torch.arange(num_teeth) + 0.5) / num_teeth, logits[row].expand(num_teeth, -1)
        drawn = draw(many, comb, temperature=temperature, top_k=top_k, top_p=top_p)
        share = drawn.bincount(minlength=logits.shape[1]) / num_teeth
        assert (share - wanted[row]).abs().max() < 1.5 / num_teeth


def test_rows_are_drawn_by_their_own_numbers(logits: torch.Tensor) -> None:
    uniform = torch.tensor([0.1, 0.9])

    together = draw(logits, uniform, temperature=1.0, top_k=50, top_p=0.9)
    alone = [draw(logits[k : k + 1], uniform[k : k + 1], temperature=1.0, top_k=50, top_p=0.9) for k in range(2)]

    assert together.tolist() == torch.cat(alone).tolist()


@pytest.mark.parametrize("sampling", [(0.7, 1, 1.0), (1.0, 50, 1e-6), (1e-3, 50, 1.0)], ids=["top_k", "top_p", "temperature"])
def test_the_likeliest_token_is_drawn_if_only_one_may(logits: torch.Tensor, sampling: tuple[float, int, float]) -> None:
    temperature, top_k, top_p = sampling
    for number in (0.0, 0.5, BELOW_1):
        drawn = draw(logits, torch.full((len(logits),), number), temperature=temperature, top_k=top_k, top_p=top_p)
        assert drawn.tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("top_p", [0.3, 0.5, 0.8, 0.9, 0.95, 0.999])
def test_the_largest_uniform_number_does_not_fall_behind_top_p(top_p: float) -> None:
    rows = torch.randn(2000, 100, generator=torch.Generator().manual_seed(1)) * 3
    uniform = torch.full((len(rows),), BELOW_1)

    drawn = draw(rows, uniform, temperature=1.0, top_k=100, top_p=top_p)

    probabilities, order = rows.double().softmax(-1).sort(descending=True)
    before = probabilities.cumsum(-1) - probabilities
    place = (order == drawn[:, None]).long().argmax(-1, keepdim=True)
    assert (before.gather(1, place) < top_p + 1e-6).all()


def test_a_token_of_no_probability_is_never_drawn() -> None:
    rows = torch.randn(500, 4000, generator=torch.Generator().manual_seed(2))
    rows[:, 1::2] = -math.inf
    for number in (0.0, 0.999999, BELOW_1):
        drawn = draw(rows, torch.full((len(rows),), number), temperature=1.3, top_k=1_000_000, top_p=1.0)
        assert (drawn % 2 == 0).all()


def test_half_precision_draws_the_same_distribution(logits: torch.Tensor) -> None:
    half = logits.bfloat16()
    uniform = torch.rand(len(half), generator=torch.Generator().manual_seed(3))

    drawn = draw(half, uniform, temperature=0.7, top_k=50, top_p=0.9)
    wanted = draw(half.float(), uniform, temperature=0.7, top_k=50, top_p=0.9)

    # Of tokens that are equally likely either may be first, and in half precision many are.
    assert half.gather(1, drawn[:, None]).tolist() == half.gather(1, wanted[:, None]).tolist()


def test_uniform_numbers_belong_to_a_seed_and_an_answer_alone() -> None:
    assert uniforms(5, 0, 8).tolist() == uniforms(5, 0, 8).tolist()
    assert uniforms(5, 0, 64)[:8].tolist() == uniforms(5, 0, 8).tolist()
    many = {tuple(uniforms(seed, answer, 4).tolist()) for seed in (0, 1, 2, 2**31, 2**48 - 1) for answer in range(50)}
    assert len(many) == 5 * 50


def test_the_numbers_of_neighbouring_answers_and_seeds_are_uniform_and_independent() -> None:
    by_answer = torch.stack([uniforms(7, answer, 8) for answer in range(2000)])
    by_seed = torch.stack([uniforms(seed, 0, 8) for seed in range(2000)])

    for numbers in (by_answer, by_seed):
        assert all(kstest(numbers[:, place].numpy(), "uniform").pvalue > 1e-4 for place in range(8))
        assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 0.1
        assert torch.corrcoef(torch.stack([numbers[:-1, 0], numbers[1:, 0]]))[0, 1].abs() < 0.1
