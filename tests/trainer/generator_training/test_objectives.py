"""What each method's loss pulls to, beside its formula over the whole model."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from preference.generation.log_probs import log_probs
from tests.support.small_generators import random_model, read_pairs, token_pairs
from tests.support.tolerance import FEATURES, assert_close
from tests.support.word_models import NUM_WORDS, SIZES
from trainer.generator_training.objectives import LOSSES, ReadPair, gained, reference_point
from trainer.generator_training.recipe import DPO, HINDSIGHT, KTO, SFT, AlignRecipe
from trainer.generator_training.steps import mean_margin, train
from trainer.generator_training.top_layers import Tokens, TopLayers

RECIPES = {recipe.method: replace(recipe, learning_rate=5e-3, warm_up_steps=2) for recipe in (DPO, KTO, SFT)}


def lesson(num_pairs: int = 4) -> tuple[TopLayers, list[ReadPair]]:
    """Top layers that have moved from the base, and pairs with every text that a method may ask for."""
    layers = TopLayers(random_model(LlamaConfig(**SIZES)), DPO, seed=0)
    pairs = read_pairs(layers, token_pairs(num_pairs, vocabulary=NUM_WORDS))
    return layers, [replace(pair, mismatched=other.rejected) for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)]


def moved(layers: TopLayers) -> None:
    torch.manual_seed(2)
    for weight in layers.weights:
        torch.nn.init.normal_(weight, std=0.1)


@pytest.mark.parametrize("recipe", [KTO, SFT], ids=lambda recipe: recipe.method)
def test_the_loss_is_the_formulas(recipe: AlignRecipe) -> None:
    layers, (pair, *others) = lesson()
    moved(layers)
    assert pair.rejected is not None
    model = layers._network
    logs = [log_probs(model, text.tokens.ids, start=text.tokens.start) for text in (pair.chosen, pair.rejected)]
    point = reference_point(layers, [pair, *others])
    if recipe.method == "sft":
        wanted = -logs[0].mean()
    else:
        rewards = [log.sum() - text.reference for log, text in zip(logs, (pair.chosen, pair.rejected), strict=True)]
        wanted = (2 - torch.sigmoid(0.1 * (rewards[0] - point)) - torch.sigmoid(0.1 * (point - rewards[1]))) / 2

    assert_close(LOSSES[recipe.method](layers, pair, recipe, point).loss.detach(), wanted.detach(), within=FEATURES)


@pytest.mark.parametrize("likelihood", [0.0, 0.2])
def test_dpo_asks_for_as_much_of_a_lead_as_people_said(likelihood: float) -> None:
    layers, (pair, *_) = lesson()
    moved(layers)
    assert pair.rejected is not None
    model, recipe = layers._network, replace(DPO, likelihood=likelihood)
    logs = [log_probs(model, text.tokens.ids, start=text.tokens.start) for text in (pair.chosen, pair.rejected)]
    chosen, rejected = (log.sum() - text.reference for log, text in zip(logs, (pair.chosen, pair.rejected), strict=True))

    for offset in (0.0, 1 / 3, 1.0):
        loss = LOSSES["dpo"](layers, replace(pair, offset=offset), recipe, 0.0).loss.detach()
        wanted = torch.log1p(torch.exp(offset - 0.1 * (chosen - rejected))) - likelihood * logs[0].mean()
        assert_close(loss, wanted.detach(), within=FEATURES)


def test_in_hindsight_both_answers_count_and_the_marker_between_them_does_not() -> None:
    layers, (pair, *_) = lesson()
    ids = [*pair.chosen.tokens.ids, *range(4, 9), *pair.chosen.tokens.ids[-3:]]
    place = len(pair.chosen.tokens.ids)
    text = layers.read(Tokens(ids, pair.chosen.tokens.start, range(place, place + 5)))
    moved(layers)
    likely = layers._network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    learnt = [*range(text.tokens.start, place), *range(place + 5, len(ids))]
    wanted = -torch.stack([likely[at - 1, ids[at]] for at in learnt]).mean()

    loss = LOSSES["hindsight"](layers, ReadPair(text, None), HINDSIGHT, 0.0).loss

    assert text.tokens.num_learnt == len(learnt) == len(ids) - text.tokens.start - 5
    assert_close(loss.detach(), wanted.detach(), within=FEATURES)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_drift_is_by_how_much_unlikelier_the_base_finds_its_answers_a_token(method: str) -> None:
    layers, (pair, *_) = lesson()
    assert pair.rejected is not None
    assert LOSSES[method](layers, pair, RECIPES[method], 0.0).drift == pytest.approx(0, abs=FEATURES)
    moved(layers)
    texts = [pair.chosen, pair.rejected]

    drift = LOSSES[method](layers, pair, RECIPES[method], 0.0).drift

    lost = sum(-float(gained(layers, text).detach()) for text in texts)
    assert drift == pytest.approx(lost / sum(text.tokens.num_learnt for text in texts), abs=FEATURES)


def test_the_reference_point_is_how_far_other_prompts_answers_have_come_and_never_below_zero() -> None:
    layers, pairs = lesson()
    assert reference_point(layers, pairs) == pytest.approx(0, abs=FEATURES)
    moved(layers)
    drifts = [float(gained(layers, pair.mismatched).detach()) for pair in pairs if pair.mismatched is not None]

    assert reference_point(layers, pairs) == pytest.approx(max(0.0, sum(drifts) / 4), abs=FEATURES)
    assert reference_point(layers, [replace(pair, mismatched=None) for pair in pairs]) == 0


@pytest.mark.parametrize("method", RECIPES)
def test_each_method_makes_the_chosen_answers_likelier(method: str) -> None:
    layers, pairs = lesson(16)

    figures: list[set[str]] = []
    if method == "sft":
        pairs = [ReadPair(pair.chosen, None) for pair in pairs]
    train(layers, pairs, RECIPES[method], num_steps=20, seed=0, report=lambda _, of_step: figures.append(set(of_step)))

    assert figures == 20 * [{"loss", "learning_rate", *([] if method == "sft" else ["drift"])}]
    assert sum(float(gained(layers, pair.chosen).detach()) for pair in pairs) > 0
    if method != "sft":
        assert mean_margin(layers, pairs) > 1


def test_an_answer_that_stands_alone_has_no_margin() -> None:
    layers, (pair, *_) = lesson(1)
    with pytest.raises(ValueError, match="stands alone"):
        mean_margin(layers, [replace(pair, rejected=None)])
