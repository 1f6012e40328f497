import logging
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig

from preference.errors import TrainingError
from preference.generation.log_probs import log_probs
from tests.support.small_generators import random_model, read_pairs, token_pairs
from tests.support.tolerance import FEATURES, assert_close, assert_same_weights
from tests.support.word_models import NUM_WORDS, SIZES
from trainer.generator_training.checkpoints import Checkpoints
from trainer.generator_training.objectives import ReadPair, margin
from trainer.generator_training.recipe import DPO
from trainer.generator_training.steps import Budget, learning_rate, mean_margin, plan, train
from trainer.generator_training.top_layers import Tokens, TopLayers
from trainer.training.memory_plan import MemoryPlan

QUICK = replace(DPO, learning_rate=5e-3, epochs=2, warm_up_steps=2)


def lesson(*, num_pairs: int = 12) -> tuple[TopLayers, list[ReadPair]]:
    layers = TopLayers(random_model(LlamaConfig(**SIZES)), QUICK, seed=0)
    return layers, read_pairs(layers, token_pairs(num_pairs, vocabulary=NUM_WORDS))


def ticks(seconds: float) -> Callable[[], float]:
    """A clock that is so much later each time."""
    numbers = count()
    return lambda: seconds * next(numbers)


def test_it_learns_which_answer_is_preferred() -> None:
    layers, pairs = lesson(num_pairs=40)
    unseen = read_pairs(layers, token_pairs(60, vocabulary=NUM_WORDS)[40:])
    assert_close(mean_margin(layers, pairs), 0, within=FEATURES)

    assert train(layers, pairs, QUICK, num_steps=40, seed=0) == 40

    assert mean_margin(layers, pairs) > 2
    assert mean_margin(layers, unseen) > 0.5


def test_a_pair_pulls_as_the_formula_says() -> None:
    """Equation 7 of the paper, over the whole model, one step of plain descent on one pair."""
    layers, (pair, *_) = lesson()
    model = random_model(LlamaConfig(**SIZES))
    whole = TopLayers(model, QUICK, seed=0)
    torch.manual_seed(2)
    for ours, theirs in zip(layers.weights, whole.weights, strict=True):
        torch.nn.init.normal_(ours, std=0.1)
        theirs.data.copy_(ours.data)

    gained = [log_probs(model, text.tokens.ids, start=text.tokens.start).sum() - text.reference for text in pair.texts]
    loss = -torch.nn.functional.logsigmoid(QUICK.beta * (gained[0] - gained[1]))
    wanted = torch.autograd.grad(loss, whole.weights)

    margin = [layers.log_prob(text) - text.reference for text in pair.texts]
    found = torch.autograd.grad(-torch.nn.functional.logsigmoid(QUICK.beta * (margin[0] - margin[1])), layers.weights)
    for got, expected in zip(found, wanted, strict=True):
        assert_close(got, expected, within=FEATURES)


def test_likelihood_makes_what_was_preferred_likelier_itself() -> None:
    """By the pairs alone, the rejected answers may become unlikelier and nothing likelier but what nobody wrote."""

    def gained(likelihood: float) -> tuple[float, float]:
        layers, pairs = lesson()
        train(layers, pairs, replace(QUICK, likelihood=likelihood), num_steps=6, seed=0)
        chosen = sum(float(layers.log_prob(pair.chosen).detach()) - pair.chosen.reference for pair in pairs) / len(pairs)
        return chosen, mean_margin(layers, pairs)

    (without, _), (chosen, margin) = gained(0.0), gained(2.0)

    assert chosen > without + 0.1
    assert margin > 0.5


def test_it_stops_once_it_is_far_enough_from_its_base(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    layers, pairs = lesson(num_pairs=40)
    drifts: list[float] = []
    free = train(layers, pairs, QUICK, num_steps=40, seed=0, report=lambda _, figures: drifts.append(figures["drift"]))
    means = [sum(drifts[step - 8 : step]) / 8 for step in range(8, 41)]
    limit = max(means) / 2
    wanted = 8 + next(place for place, mean in enumerate(means) if mean > limit)

    layers, pairs = lesson(num_pairs=40)
    num_steps = train(layers, pairs, replace(QUICK, most_drift=limit), num_steps=40, seed=0)

    assert free == 40
    assert num_steps == wanted < 40
    assert f"it is far enough from its base after {wanted} of 40 steps" in caplog.text


def test_killed_it_stops_where_it_would_have_stopped(tmp_path: Path) -> None:
    """Not later by the steps whose mean drift counts: it would go farther than it may."""
    layers, pairs = lesson(num_pairs=40)
    drifts: list[float] = []
    train(layers, pairs, QUICK, num_steps=20, seed=0, report=lambda _, figures: drifts.append(figures["drift"]))
    near = replace(QUICK, most_drift=max(sum(drifts[step - 8 : step]) / 8 for step in range(8, 21)) / 2)
    layers, pairs = lesson(num_pairs=40)
    wanted = train(layers, pairs, near, num_steps=20, seed=0)
    undisturbed = {str(i): weight.detach() for i, weight in enumerate(layers.weights)}
    checkpoints = Checkpoints(tmp_path / "kept", every_seconds=0)

    def killed(step: int, _: object) -> None:
        if step == wanted - 1:
            raise KeyboardInterrupt

    layers, pairs = lesson(num_pairs=40)
    with pytest.raises(KeyboardInterrupt):
        train(layers, pairs, near, num_steps=20, seed=0, checkpoints=checkpoints, report=killed)
    layers, pairs = lesson(num_pairs=40)

    assert train(layers, pairs, near, num_steps=20, seed=0, checkpoints=checkpoints) == wanted < 20
    assert_same_weights({str(i): weight.detach() for i, weight in enumerate(layers.weights)}, undisturbed)


def test_the_same_pairs_and_seed_give_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        layers, pairs = lesson()
        train(layers, pairs, QUICK, num_steps=6, seed=3)
        weights.append({str(i): weight.detach() for i, weight in enumerate(layers.weights)})

    assert_same_weights(*weights)


def test_the_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [learning_rate(step, 45, DPO) for step in range(45)]

    assert rates[0] == pytest.approx(DPO.learning_rate / 5)
    assert max(rates) == rates[4] == pytest.approx(DPO.learning_rate)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(DPO.learning_rate / 10)
    assert learning_rate(0, 1, DPO) == pytest.approx(DPO.learning_rate)


def test_the_budget_is_measured_and_kept_to() -> None:
    layers, pairs = lesson()

    enough = plan(layers, pairs, QUICK, most_seconds=1000, clock=ticks(0.5))
    short = plan(layers, pairs, replace(QUICK, epochs=10), most_seconds=41, clock=ticks(0.5))

    assert (enough.num_steps, enough.num_wanted, enough.seconds_a_step) == (6, 6, 2.0)
    assert (short.num_steps, short.num_wanted, short.seconds) == (20, 30, 40.0)
    assert all(weight.grad is None for weight in layers.weights)
    assert_close(mean_margin(layers, pairs), 0, within=FEATURES)  # what was measured was taken back
    num_bytes = sum(4 * 32 * (len(text.tokens.ids) - 1) for pair in pairs for text in pair.texts)
    assert short.memory.texts == num_bytes


def test_the_budget_reads_as_a_sentence() -> None:
    memory = MemoryPlan(545_000_000, 7_000_000, 14_000_000, 266_000_000, 1, 200, texts=60_000_000)
    assert str(Budget(46, 46, 2.4, 4, memory)) == (
        "46 steps, 4 pairs each, 2.4 s a step (measured): about 2 min; it takes 892 MB: weights 545 MB, gradients 7 MB, optimizer 14 MB, "
        "activations 266 MB (1 pair of up to 200 tokens at once), texts that were read 60 MB"
    )
    of_texts = replace(memory, unit="text")
    assert str(Budget(30, 46, 2.0, 4, of_texts)).startswith(
        "30 steps of 46, which would take longer than ALIGN_MINUTES, 4 texts each,"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_as_much_memory_is_planned_as_a_step_takes(dtype: torch.dtype) -> None:
    """What torch's allocator gives at most in a step on the longest pair, by its profiler."""
    model = random_model(LlamaConfig(**{**SIZES, "hidden_size": 64}), dtype=dtype)
    layers = TopLayers(model, QUICK, seed=0)
    pairs = read_pairs(layers, token_pairs(6, vocabulary=NUM_WORDS))
    longest = max(pairs, key=lambda pair: pair.num_tokens)

    def step() -> None:
        (-torch.nn.functional.logsigmoid(margin(layers, longest))).backward()

    step()  # which leaves gradients, that are planned by themselves
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    taken = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            taken += event.nbytes()
            most = max(most, taken)

    memory = plan(layers, pairs, QUICK, most_seconds=1e6).memory

    num_learning = sum(weight.numel() for weight in layers.weights)
    assert memory.activations is not None and most / 1.2 <= memory.activations <= 1.2 * most
    assert (memory.gradients, memory.optimizer) == (4 * num_learning, 8 * num_learning)
    assert memory.weights == sum(weight.nbytes for weight in model.parameters())
    assert memory.tokens == max(len(text.tokens.ids) for pair in pairs for text in pair.texts)


def test_measuring_the_memory_keeps_none_of_it() -> None:
    layers = TopLayers(random_model(LlamaConfig(**{**SIZES, "vocab_size": 30_000})), QUICK, seed=0)
    tokens = Tokens([5] * 200, 20)
    pairs = [ReadPair(layers.read(tokens), layers.read(tokens))]  # of 40 MB
    plan(layers, pairs, QUICK, most_seconds=1e6)
    before = psutil.Process().memory_info().rss

    for _ in range(4):
        plan(layers, pairs, QUICK, most_seconds=1e6)

    assert psutil.Process().memory_info().rss < before + 60e6


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    layers, pairs = lesson()

    with pytest.raises(
        TrainingError, match=r"^Learning by dpo takes .*, texts that were read 0 MB, and 0 MB are free; name a smaller"
    ):
        plan(layers, pairs, QUICK, most_seconds=1e6, free=1000)

    assert plan(layers, pairs, QUICK, most_seconds=1e6, free=10**9).num_steps == 6


def test_a_budget_for_a_few_steps_is_refused() -> None:
    layers, pairs = lesson()

    with pytest.raises(
        TrainingError, match=r"A step takes 20\.0 s, so 60 s have room for 3 of 30 steps; raise ALIGN_MINUTES, or"
    ):
        plan(layers, pairs, replace(QUICK, epochs=10), most_seconds=60, clock=ticks(5))


def test_it_ends_when_the_time_is_up_after_all() -> None:
    layers, pairs = lesson()

    assert train(layers, pairs, QUICK, num_steps=20, seed=0, most_seconds=10, clock=ticks(2)) < 20


def test_a_loss_that_is_no_number_says_what_to_do() -> None:
    layers, pairs = lesson()
    with torch.no_grad():
        for weight in layers.weights:  # one of zeros may hide another: kernels differ
            weight.fill_(math.nan)

    with pytest.raises(TrainingError, match=r"The loss became nan at step 1 of 5; lower the learning rate of 'dpo' \(0\.005\)"):
        train(layers, pairs, QUICK, num_steps=5, seed=0)
