"""A champion whose suggestions pull the votes that it is judged by."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from preference.labelling.pairs import PreferencePair
from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgementGroup, SuggestionEffect
from preference.report_card.shares import Share, ShareDifference
from tests.support.fitted_once import style_is_fitted_once  # noqa: F401 - a fixture
from tests.support.known_rewards import KnowsRewards, holdout, model
from tests.support.suggestions import Annotators
from trainer.evaluation.judge import LoadedChampion, Verdict, judge
from trainer.evaluation.pull import Pull, pull_of, share_that_follows

NUM_HELD_OUT, NUM_PROJECTS = 300, 40
TRAIN = [PreferencePair(f"train {n}", "one answer" + "." * (n % 3), "another one") for n in range(20)]


def measured_effect(follow: float, *, seed: int, num_tasks: int = 1500) -> SuggestionEffect:
    """What a project's control group of a tenth of all tasks says, if that share of people follows suggestions."""
    effect = Annotators(num_tasks, moved=follow, one_in=10, seed=seed).effect()
    assert isinstance(effect, SuggestionEffect)
    return effect


def judged(follow: float, *, seed: int, is_corrected: bool, gain: float = 0.03, beside: float = 0.9) -> Verdict:
    """The champion is right on .70 of what people would choose by themselves, the challenger on so much more, in 45 % they differ."""
    chance = np.random.default_rng(seed)
    kinds = chance.choice(4, NUM_HELD_OUT, p=[(0.45 + gain) / 2, (0.45 - gain) / 2, 0.475, 0.075])
    is_right = {"challenger": (kinds == 0) | (kinds == 2), "champion": (kinds == 1) | (kinds == 2)}
    is_beside, follows = chance.uniform(size=(2, NUM_HELD_OUT)) < [[beside], [follow]]
    votes, rewards = [], {name: dict[str, float]() for name in is_right}
    for n, pair in enumerate(holdout(NUM_HELD_OUT, num_longer=NUM_HELD_OUT // 2)):
        for name, right in is_right.items():
            rewards[name] |= {pair.chosen: float(right[n]), pair.rejected: float(not right[n])}
        if is_beside[n] and follows[n] and not is_right["champion"][n]:
            pair = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
        seen: dict[str, Any] = {"suggested_version": "v1", "suggested_side": "left", "is_lit": True} if is_beside[n] else {}
        votes.append(replace(pair, **seen))
    champion = LoadedChampion(KnowsRewards(rewards["champion"]), ReportCard(num_train_pairs=20))
    effect = measured_effect(follow, seed=seed) if is_corrected else None
    return judge(KnowsRewards(rewards["challenger"]), champion, votes, train=TRAIN, pull=pull_of(votes, "v1", effect))


@lru_cache
def gains(follow: float, **how: Any) -> NDArray[np.float64]:
    """(num_projects,) the gain over the champion that the judge measures."""
    verdicts = [judged(follow, seed=seed, **{"is_corrected": False, **how}) for seed in range(NUM_PROJECTS)]
    return np.array([verdict.metrics.gain for verdict in verdicts], float)


def test_votes_beside_the_champions_side_favour_it_and_the_correction_takes_most_of_that_away() -> None:
    """The challenger is better by .03."""
    fair, counted, corrected = gains(0.0), gains(0.2), gains(0.2, is_corrected=True)

    assert abs(fair.mean() - 0.03) < 0.015
    assert counted.mean() < -0.04 and (counted < 0).mean() > 0.85
    assert corrected.mean() - counted.mean() > 0.04 and (corrected < 0).mean() < 0.6


def test_if_nobody_follows_the_correction_changes_little() -> None:
    fair, corrected = gains(0.0), gains(0.0, is_corrected=True)

    assert 0 <= corrected.mean() - fair.mean() < 0.02


def test_if_held_out_tasks_show_no_suggestion_nobody_is_favoured() -> None:
    """SUGGEST_HELD_OUT=false."""
    assert abs(gains(0.2, beside=0.0).mean() - 0.03) < 0.015


def test_a_challenger_that_is_as_good_is_not_taken_for_worse_beyond_noise() -> None:
    """By the test, whose null hypothesis knows the pull."""
    is_worse = [
        [judged(0.3, seed=seed, gain=0.0, is_corrected=is_corrected).metrics.p_worse for seed in range(NUM_PROJECTS)]
        for is_corrected in (False, True)
    ]
    counted, corrected = ((np.array(p, float) < 0.05).mean() for p in is_worse)
    assert counted > 0.7 and corrected < 0.3


def test_the_verdict_names_the_champions_accuracy_without_the_pull() -> None:
    pairs = [replace(pair, **SEEN) for pair in holdout(100, num_longer=50)]
    challenger, champion = model(pairs, right=range(65)), model(pairs, right=range(20, 90))

    verdict = judge(
        challenger,
        LoadedChampion(champion, ReportCard(num_train_pairs=20)),
        pairs,
        train=TRAIN,
        pull=Pull(np.ones(100, bool), 0.2),
    )

    assert (verdict.metrics.num_beside, verdict.metrics.pull, verdict.metrics.champion) == (100, 0.2, 0.7)
    assert verdict.metrics.gain == pytest.approx((20 * 1.5 - 25) / 100)
    assert verdict.promoted
    assert verdict.reason.endswith("the champion has 0.600 without the pull of its own suggestions (0.700 with it)")


SEEN: dict[str, Any] = {"suggested_version": "v1", "suggested_side": "left", "is_lit": True}


# Which votes, and how far


def test_what_is_lit_by_another_version_or_not_at_all_was_not_pulled_by_the_champion() -> None:
    unlit = {**SEEN, "is_lit": False}
    kinds = [SEEN, unlit, {**SEEN, "suggested_version": "v0"}, {"is_blind": True, "suggested_version": "v1"}, {}]
    pairs = [replace(pair, **kind) for pair, kind in zip(holdout(5, num_longer=2), kinds, strict=True)]

    assert pull_of(pairs, "v1", None).is_beside.tolist() == [True, False, False, False, False]
    assert pull_of(pairs[1:], "v1", None).is_beside.tolist() == [True, False, False, False], "it shows rewards alone"
    assert not pull_of(pairs, None, None).is_beside.any() and not len(pull_of([], "v1", None).is_beside)


def effect(moves: ShareDifference | None) -> SuggestionEffect:
    return SuggestionEffect(with_suggestion=JudgementGroup(model_side=Share(0.8, None, 500)), moves=moves)


def test_the_share_that_follows_is_taken_for_smaller_the_less_certain_it_is() -> None:
    """Without suggestions, .7 would choose the side, so .1 more is a third of the others."""
    shares = [share_that_follows(effect(ShareDifference(0.1, (0.1 - half, 0.1 + half), 100))) for half in (0.0, 0.02, 0.2)]

    assert shares[0] == pytest.approx(1 / 3, abs=1e-4)
    assert shares[1] == pytest.approx(1 / 3, abs=0.02) and shares[2] == pytest.approx(
        1 / 3 / (1 + (0.2 / 1.96 / 0.1) ** 2), abs=1e-3
    )


def test_nobody_is_taken_to_choose_against_a_suggestion_and_what_is_not_measured_is_not_known() -> None:
    assert share_that_follows(effect(ShareDifference(-0.1, (-0.2, 0.0), 100))) == 0.0
    assert share_that_follows(effect(ShareDifference(0.0, (0.0, 0.0), 100))) == 0.0
    assert {
        share_that_follows(known) for known in (None, effect(None), effect(ShareDifference(count=30)), SuggestionEffect())
    } == {None}
