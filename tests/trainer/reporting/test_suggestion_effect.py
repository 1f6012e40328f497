import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from preference.errors import ModelError
from preference.labelling.control_group import ControlGroup, is_control
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.report_card.figures import ControlAccuracy
from preference.report_card.shares import Median, Share, ShareDifference
from preference.reward_model.model import RewardModel
from tests.support.cards import CARD
from tests.support.known_rewards import KnowsRewards
from tests.support.suggestions import BEFORE, Annotators, blind, raise_missing
from trainer.evaluation.intervals import middle, share
from trainer.people.judgements import judgements_of
from trainer.reporting.suggestion_effect import MOVED, compared_versions, control_accuracy, suggestion_effect


class OutOfMemory(KnowsRewards):
    """A model that loads, and then needs more memory than there is."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        raise ModelError("To score one answer takes more memory than there is; take a smaller REWARD_BASE.")


def changed(pairs: Iterable[PreferencePair], **fields: Any) -> list[PreferencePair]:
    return [dataclasses.replace(pair, **fields) for pair in pairs]


def suggested(pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
    return [pair for pair in pairs if pair.suggested_side is not None]


# How far suggestions move people


@pytest.mark.parametrize("least_sure_first", [1.0, 0.3])
@pytest.mark.parametrize("num_tasks", [300, 1500])
def test_if_suggestions_move_nobody_the_report_warns_hardly_ever(num_tasks: int, least_sure_first: float) -> None:
    """Though those without one are judged on tasks of any confidence, and those with one on the least certain first."""
    effects = [Annotators(num_tasks, seed=seed, least_sure_first=least_sure_first).effect() for seed in range(60)]

    covered = [made.moves.interval[0] <= 0 <= made.moves.interval[1] for made in effects]
    assert sum(covered) >= 51 and abs(np.mean([made.moves.value for made in effects])) < 0.03
    assert sum(made.warning is not None for made in effects) <= 2


@pytest.mark.parametrize("least_sure_first", [1.0, 0.3])
def test_if_suggestions_move_people_the_report_says_how_far_and_warns(least_sure_first: float) -> None:
    """Of those who would have disagreed, half agree."""
    effects = [Annotators(1500, moved=0.5, seed=seed, least_sure_first=least_sure_first).effect() for seed in range(20)]

    pairs = suggested(Annotators(1500, least_sure_first=least_sure_first).pairs)
    doubt = np.mean([1 - (pair.suggested_confidence or 0) for pair in pairs])
    assert np.mean([made.moves.value for made in effects]) == pytest.approx(doubt / 2, abs=0.03)
    assert all(made.warning for made in effects if made.moves.interval[0] > MOVED)
    assert sum(made.warning is not None for made in effects) >= 18
    assert (effects[0].warning or "").startswith("suggestions move people: they choose the model's side +0.")


def test_a_small_control_group_gives_no_figure_and_a_large_one_warns_hardly_ever() -> None:
    few = [Annotators(290, slope=0.3, one_in=10, least_sure_first=0.1, seed=seed).effect() for seed in range(40)]
    enough = [Annotators(600, slope=0.3, one_in=10, least_sure_first=0.1, seed=seed).effect() for seed in range(100)]

    assert {made.without.num_judgements for made in few} == {29}
    assert {made.without.num_judgements for made in enough} == {60}
    assert {(made.moves.value, made.moves.interval, made.warning) for made in few} == {(None, None, None)}
    assert all(made.moves.value is not None for made in enough) and sum(bool(made.warning) for made in enough) <= 5


def test_full_agreement_of_few_people_is_no_certainty() -> None:
    world = Annotators(500, seed=1)
    agreeing = [pair for pair in world.pairs if world.rewards[pair.chosen] > world.rewards[pair.rejected]]

    moves = world.effect(pairs=[*blind(agreeing)[:60], *suggested(agreeing)[:8]]).moves

    assert moves.count == 8 and moves.interval[1] - moves.interval[0] > 0.3


def test_too_few_judgements_give_no_figure() -> None:
    world = Annotators(40, seed=1)

    effect = world.effect(pairs=[*blind(world.pairs)[:7], *suggested(world.pairs)])

    assert effect.moves == ShareDifference(count=7)
    assert effect.without.model_side == effect.without.left_rate == Share(count=7)
    assert effect.without.lead_seconds == Median(count=7)
    assert (effect.warning, effect.with_suggestion.model_side.count) == (None, 32)


# What is beside it


def test_each_group_has_its_own_figures() -> None:
    world = Annotators(400, judges=3, seed=4)

    effect = world.effect()

    suggested_group, control_group = effect.with_suggestion, effect.without
    assert (suggested_group.num_judgements, control_group.num_judgements) == (960, 240)
    assert suggested_group.model_side.value == np.mean([p.chosen_side == p.suggested_side for p in suggested(world.pairs)]).round(
        4
    )
    right = [world.rewards[pair.chosen] > world.rewards[pair.rejected] for pair in blind(world.pairs)]
    assert control_group.model_side.value == np.mean(right).round(4)
    assert (suggested_group.lead_seconds.value, control_group.lead_seconds.interval) == (8.0, (12.0, 12.0))
    assert 0.4 < suggested_group.left_rate.value < 0.6 and control_group.majority.count == 240


def test_agreement_with_the_majority_counts_equally_frequent_outcomes_in_part() -> None:
    world = Annotators(40, seed=1)
    eight = blind(world.pairs)[:8]
    others = [
        dataclasses.replace(pair, annotator_id=7, annotation_id=100 + n, chosen_side="left" if n < 6 else "right")
        for n, pair in enumerate(changed(eight, is_blind=False))
    ]
    mine = changed(eight, chosen_side="left")
    third = dataclasses.replace(others[-1], annotator_id=8, annotation_id=200, chosen_side="left")

    majority = world.effect(pairs=[*suggested(world.pairs), *mine, *others, third]).without.majority

    assert (majority.count, majority.value) == (8, (6 + 0 + 0.5) / 8)


def test_a_tie_is_not_the_models_side() -> None:
    world = Annotators(40, seed=1)
    ties = [
        dataclasses.replace(pair, kind="tie", weight=0.5, chosen_side=side)
        for pair in changed(blind(world.pairs), chosen="left answer", rejected="right answer")
        for side in ("left", "right")
    ]
    world.rewards |= {"left answer": 1.0, "right answer": 0.0}

    group = world.effect(pairs=[*suggested(world.pairs), *ties]).without

    assert (group.num_judgements, group.model_side.value, group.left_rate.value) == (8, 0.0, None)


# What is compared


def test_without_a_control_group_or_without_suggestions_there_is_nothing_to_compare() -> None:
    world = Annotators(40)
    for pairs in ([], blind(world.pairs), suggested(world.pairs), changed(blind(world.pairs), is_blind=False)):
        assert suggestion_effect(pairs, cards=[CARD], load=raise_missing) is None


def test_judgements_that_cannot_be_compared_are_counted_by_reason() -> None:
    world = Annotators(200)
    pairs = world.pairs
    early = dataclasses.replace(pairs[0], judged_at=BEFORE, annotation_id=999, annotator_id=9, suggested_version=None, is_blind=False, suggested_side=None)  # fmt: skip
    other = changed(suggested(pairs)[10:15], suggested_version="v2", annotation_id=None)
    unseen = changed(pairs[20:23], suggested_version=None, suggested_side=None, is_blind=False, annotation_id=None)

    effect = world.effect(pairs=[*pairs, early, *other, *unseen])

    assert effect.left_out == {
        "no prediction was seen": 4,
        "its version suggested to all, or to none": 5,
        "its version may have trained on the prompt": 1,
    }
    assert effect.with_suggestion.num_judgements + effect.without.num_judgements == 199
    assert world.effect(cards=[]).left_out == {"its version is gone": 200}


def test_judgements_that_a_version_read_are_not_compared_whatever_the_clocks_say() -> None:
    world = Annotators(200)

    effect = world.effect(cards=[dataclasses.replace(CARD, newest_annotation=49)])

    assert effect.left_out == {"its version may have trained on the prompt": 50}
    assert effect.with_suggestion.num_judgements + effect.without.num_judgements == 150


@pytest.mark.parametrize("load", [raise_missing, lambda version: OutOfMemory({})], ids=["loaded", "asked"])
def test_a_version_that_cannot_be_loaded_or_asked_leaves_the_rest_of_the_figures(load: Callable[[str], RewardModel]) -> None:
    effect = Annotators(200).effect(load=load)

    assert effect.left_out == {"its version cannot be loaded or asked": 40}
    assert (effect.without.model_side.count, effect.moves.value, effect.warning) == (0, None, None)
    assert effect.without.left_rate.count == 40


def test_only_the_newest_of_the_control_group_are_scored_again() -> None:
    world = Annotators(1200, one_in=2)
    model = KnowsRewards(world.rewards)

    effect = world.effect(load=lambda version: model)

    assert (model.num_scored, effect.without.model_side.count, effect.without.num_judgements) == (1000, 500, 600)


def test_rewards_that_are_no_numbers_count_for_nothing() -> None:
    world = Annotators(100)
    world.rewards = dict.fromkeys(world.rewards, float("nan"))

    assert world.effect().moves.count == 0


# Below the confidence from which a side is lit


def lit_from(world: Annotators, least: float, *, shows_rewards: bool) -> list[PreferencePair]:
    """The same judgements, with ids of tasks that are in the control group of half of all tasks, or are not.

    Where the version was less sure, nothing was lit.
    """
    ids = {group: iter([number for number in range(1, 9000) if is_control(number, 50) == group]) for group in (True, False)}
    pairs = []
    for pair in changed(world.pairs, is_lit=True):
        known = dataclasses.replace(pair, task_id=next(ids[pair.is_blind]), is_lit=not pair.is_blind)
        if not pair.is_blind and (pair.suggested_confidence or 0) < least:
            hidden: dict[str, Any] = {} if shows_rewards else {"suggested_side": None, "suggested_confidence": None}
            known = dataclasses.replace(known, is_lit=False, is_blind=not shows_rewards, **hidden)
        pairs.append(known)
    return pairs


@pytest.mark.parametrize("shows_rewards", [True, False])
def test_tasks_on_which_the_version_was_not_sure_enough_are_a_group_of_their_own(shows_rewards: bool) -> None:
    world = Annotators(1500, seed=3, moved=0.5)
    pairs = lit_from(world, 0.7, shows_rewards=shows_rewards)
    num_unlit = sum((pair.suggested_confidence or 1) < 0.7 for pair in suggested(world.pairs))

    effect = world.effect(pairs=pairs, control=ControlGroup(50))

    assert effect.unlit.num_judgements == num_unlit > 300
    assert effect.with_suggestion.num_judgements == 1200 - num_unlit
    assert effect.without.num_judgements == 300
    assert effect.unlit.model_side.count == (num_unlit if shows_rewards else 0)
    # Only tasks of which it is as sure are compared: those of the control group that it would have lit.
    assert 100 < effect.moves.count < 300 and effect.moves.interval[0] > 0
    assert effect.left_out == {}


def test_a_version_that_lit_nothing_suggests_by_its_rewards() -> None:
    world = Annotators(400, seed=3)

    assert world.effect().unlit is None
    assert world.effect().with_suggestion.num_judgements == 320


def test_if_nobody_knows_who_is_in_the_control_group_all_that_saw_nothing_are() -> None:
    world = Annotators(400, seed=3)
    pairs = lit_from(world, 0.7, shows_rewards=False)

    assert world.effect(pairs=pairs).without.num_judgements == len(blind(pairs)) > 80
    assert world.effect(pairs=pairs, control=ControlGroup(50)).without.num_judgements == 80


# Accuracy on the control group


def test_accuracy_on_the_control_group_counts_its_held_out_comparisons_alone() -> None:
    pairs = Annotators(100).pairs
    rows = np.array([pair.is_blind for pair in pairs], float)
    versions = compared_versions(judgements_of(pairs))

    accuracy = control_accuracy(pairs, versions, this=rows, champion=None)

    assert accuracy == ControlAccuracy(this=share([1.0] * 20), champion=None)
    assert control_accuracy(pairs, set(), this=rows, champion=None).this == Share(count=0)


def test_the_interval_of_a_median_holds_it_nineteen_times_in_twenty() -> None:
    chance = np.random.default_rng(0)
    for count in (6, 25, 200):
        medians = [middle(chance.exponential(size=count)) for _ in range(800)]
        ends = [made.interval or (0, 0) for made in medians]
        held = np.mean([low - 0.005 <= np.log(2) <= high + 0.005 for low, high in ends])
        assert 0.93 <= held <= 0.99
    assert middle([3.0], at_least=2) == Median(count=1)
    assert middle([3.0, 5.0]) == Median(4.0, (3.0, 5.0), 2)
