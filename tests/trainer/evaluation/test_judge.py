import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from preference.labelling.holdout import MIN_HOLDOUT
from preference.labelling.pairs import PreferencePair, majority
from preference.report_card.card import ReportCard
from preference.report_card.figures import Comparison, JudgedFigures
from preference.report_card.shares import Share, wilson
from preference.reward_model.model import RewardModel
from tests.support.known_rewards import KnowsRewards, holdout, model
from trainer.evaluation.intervals import compare, share
from trainer.evaluation.judge import MAX_DEBT, LoadedChampion, Verdict
from trainer.evaluation.judge import judge as judge_on
from trainer.evaluation.pair_rewards import score_pairs


def judge(
    challenger: RewardModel, champion: RewardModel | None, pairs: Sequence[PreferencePair], *, num_train_before: int | None = 50,
    accuracy_debt: float = 0.0, **options: Any,
) -> Verdict:  # fmt: skip
    """A verdict on a challenger that trained on 100 pairs like the held-out ones; its champion had 50."""
    train = [PreferencePair(f"train {i} {pair.prompt}", pair.chosen, pair.rejected) for i, pair in enumerate([*pairs] * 100)][
        :100
    ]
    card = ReportCard(num_train_pairs=num_train_before, metrics=JudgedFigures(accuracy_debt=accuracy_debt))
    before = None if champion is None else LoadedChampion(champion, card)
    return judge_on(challenger, before, pairs, **{"train": train, **options})


def test_too_few_held_out_pairs_are_no_evidence() -> None:
    pairs = holdout(MIN_HOLDOUT - 1, num_longer=3)

    verdict = judge(model(pairs, right=range(7)), None, pairs)

    assert (verdict.promoted, verdict.reason) == (False, "only 7 held-out pairs, 8 are needed")
    assert (verdict.metrics.num_pairs, verdict.metrics.accuracy) == (7, 1.0), "the figures are there all the same"


def test_no_held_out_pairs_at_all_are_no_evidence() -> None:
    verdict = judge(KnowsRewards({}), None, [])

    assert (verdict.promoted, verdict.reason) == (False, "only 0 held-out pairs, 8 are needed")
    assert verdict.metrics == JudgedFigures(num_pairs=0)


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
    assert (verdict.metrics.longer_wins, verdict.metrics.shorter_wins) == (0.1, 0.9)


def test_what_is_below_the_champion_beyond_noise_is_kept_back_however_much_it_trained_on() -> None:
    pairs = holdout(20, num_longer=10)

    verdict = judge(model(pairs, right=range(15)), model(pairs, right=range(20)), pairs)

    assert not verdict.promoted
    assert verdict.reason == "accuracy 0.750 is below the champion's 1.000 beyond noise (p 0.031)"  # 1 / 2 ** 5
    assert (verdict.metrics.champion, verdict.metrics.gain) == (1.0, -0.25)


def test_what_is_below_the_champion_within_noise_is_promoted_for_a_tenth_more_pairs() -> None:
    pairs = holdout(40, num_longer=20)
    challenger, champion = model(pairs, right=range(30)), model(pairs, right=range(31))

    grown = judge(challenger, champion, pairs, num_train_before=90)
    hardly = judge(challenger, champion, pairs, num_train_before=91)

    assert (grown.promoted, hardly.promoted) == (True, False)
    below = "accuracy 0.750 is below the champion's 0.775 within noise (p 0.5)"
    assert grown.reason == f"{below}, with 100 training pairs against its 90"
    assert hardly.reason == f"{below}, and 100 training pairs against its 91 are not a tenth more"


def test_many_small_losses_do_not_add_up_to_a_large_one() -> None:
    """A walk downwards: each challenger loses one pair of forty to the one before it, and has plenty of new data."""
    pairs, debt, num_right = holdout(40, num_longer=20), 0.0, 40
    for _ in range(10):
        verdict = judge(
            model(pairs, right=range(num_right - 1)),
            model(pairs, right=range(num_right)),
            pairs,
            num_train_before=10,
            accuracy_debt=debt,
        )
        if not verdict.promoted:
            break
        num_right, debt = num_right - 1, verdict.metrics.accuracy_debt

    assert num_right == 40 - int(40 * MAX_DEBT)
    assert verdict.reason.endswith("but 0.075 would be given away in all since the best version")
    assert verdict.metrics.accuracy_debt == 0.0


def test_a_gain_pays_back_the_debt() -> None:
    pairs = holdout(40, num_longer=20)

    paid = judge(model(pairs, right=range(31)), model(pairs, right=range(30)), pairs, accuracy_debt=0.04).metrics.accuracy_debt
    overpaid = judge(
        model(pairs, right=range(40)), model(pairs, right=range(30)), pairs, accuracy_debt=0.04
    ).metrics.accuracy_debt

    assert (paid, overpaid) == (0.015, 0.0)


def test_below_both_the_length_rule_is_the_reason() -> None:
    pairs = holdout(10, num_longer=8)

    verdict = judge(model(pairs, right=range(3)), model(pairs, right=range(10)), pairs)

    assert verdict.reason == "accuracy 0.300 is below longer-answer-wins 0.800"
    assert verdict.metrics.champion == 1.0, "the figures are there all the same"


def test_without_a_champion_the_length_rule_is_the_bar() -> None:
    pairs = holdout(10, num_longer=8)

    verdict = judge(model(pairs, right=range(8)), None, pairs)

    assert verdict.promoted
    assert verdict.reason == "accuracy 0.800, longer-answer-wins has 0.800, and there was no champion"
    assert (verdict.metrics.champion, verdict.metrics.gain, verdict.metrics.accuracy_debt) == (None, None, 0.0)


def test_at_equal_accuracy_the_challenger_wins_if_it_trained_on_more() -> None:
    pairs = holdout(10, num_longer=4)

    verdict = judge(model(pairs, right=range(9)), model(pairs, right=range(1, 10)), pairs)

    assert verdict.promoted
    assert verdict.reason == "accuracy 0.900, shorter-answer-wins has 0.600, the champion has 0.900"
    again = judge(model(pairs, right=range(9)), model(pairs, right=range(1, 10)), pairs, num_train_before=100)
    assert (again.promoted, again.reason) == (
        False, "accuracy 0.900 is the champion's, and it trained on no more pairs (100)",
    )  # fmt: skip


def test_a_more_accurate_challenger_wins_on_the_same_data() -> None:
    pairs = holdout(10, num_longer=4)

    assert judge(model(pairs, right=range(9)), model(pairs, right=range(8)), pairs, num_train_before=100).promoted


def test_a_champion_whose_training_data_are_not_known_counts_as_one_with_less() -> None:
    pairs = holdout(10, num_longer=4)

    equal = model(pairs, right=range(9))
    assert judge(equal, equal, pairs, num_train_before=None).promoted
    train = [PreferencePair("train", "chosen", "rejected")]
    assert judge_on(equal, LoadedChampion(equal, None), pairs, train=train).promoted, "its card is damaged"


def test_equal_rewards_are_not_right() -> None:
    pairs = holdout(10, num_longer=5)
    rewards = {answer: 0.5 for pair in pairs for answer in (pair.chosen, pair.rejected)}

    verdict = judge(KnowsRewards({**rewards, pairs[0].chosen: 1.0}), None, pairs)

    assert verdict.metrics.accuracy == 0.1


def test_one_reward_for_all_answers_is_kept_back_with_that_reason() -> None:
    pairs = holdout(10, num_longer=5)
    undecided = KnowsRewards({answer: 0.5 for pair in pairs for answer in (pair.chosen, pair.rejected)})

    verdict = judge(undecided, None, pairs)

    assert (verdict.promoted, verdict.reason) == (False, "it gives both answers the same reward in every held-out pair")
    assert verdict.metrics.accuracy == 0.0


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_is_kept_back_with_that_reason(broken: float) -> None:
    pairs = holdout(10, num_longer=5)
    rewards = model(pairs, right=range(10)).rewards

    verdict = judge(KnowsRewards({**rewards, pairs[3].chosen: broken, pairs[4].rejected: broken}), None, pairs)

    assert not verdict.promoted
    assert verdict.reason == "2 of 20 held-out answers have a reward that is no number (NaN or infinite)"


def test_a_champion_whose_rewards_are_no_numbers_is_wrong() -> None:
    pairs = holdout(10, num_longer=5)
    broken = KnowsRewards({answer: math.nan for pair in pairs for answer in (pair.chosen, pair.rejected)})

    verdict = judge(model(pairs, right=range(8)), broken, pairs)

    assert (verdict.promoted, verdict.metrics.champion) == (True, 0.0)


def test_all_ties_leave_no_comparison_to_judge_on() -> None:
    ties = [
        PreferencePair(f"prompt {i}", *answers, kind="tie", weight=0.5, task_id=i, annotation_id=i)
        for i in range(20)
        for answers in (("long answer", "short"), ("short", "long answer"))
    ]

    verdict = judge(KnowsRewards({}), None, majority(ties), train=ties)

    assert (verdict.promoted, verdict.reason) == (False, "only 0 held-out pairs, 8 are needed")


# The rules without a model


def listed(num_pairs: int, *, num_right: int) -> list[PreferencePair]:
    """Pairs of equally long answers, of which the one with a list is chosen in the first `num_right`."""
    pairs = []
    for i in range(num_pairs):
        answers = f"- one {i:03}\n- two\n- three", f"one {i:03}, two, three abc"
        pairs.append(PreferencePair(f"prompt {i}", *(answers if i < num_right else answers[::-1])))
    return pairs


def test_a_challenger_below_style_only_beyond_noise_is_kept_back() -> None:
    pairs = listed(30, num_right=30)

    verdict = judge(model(pairs, right=range(25)), None, pairs)

    assert not verdict.promoted
    assert verdict.reason == "accuracy 0.833 is below style-only 1.000 beyond noise (p 0.031)"
    assert (verdict.metrics.baseline, verdict.metrics.style_only) == ("style", 1.0)


def test_a_challenger_just_below_style_only_is_promoted() -> None:
    pairs = listed(30, num_right=30)

    assert judge(model(pairs, right=range(26)), None, pairs).promoted


def test_a_challenger_just_below_style_only_is_kept_back_if_a_coin_may_be_as_good() -> None:
    train, pairs = listed(60, num_right=60), listed(30, num_right=19)

    verdict = judge(model(pairs, right=range(18)), None, pairs, train=train)

    assert not verdict.promoted
    assert verdict.reason == (
        "accuracy 0.600 is below style-only 0.633, and may be no better than a coin (95 % interval 0.423 to 0.754)"
    )


def test_style_only_is_no_bar_if_it_was_not_the_best_rule_in_training() -> None:
    pairs = listed(30, num_right=30)
    chance = [PreferencePair(f"train {i}", f"the longer answer {i}", f"short {i}") for i in range(60)]
    lists = [PreferencePair(f"other {i}", "- a\n- b\n- c and so on", f"a, b, {i}") for i in range(20)]

    verdict = judge(model(pairs, right=range(20)), None, pairs, train=[*chance, *lists])

    assert verdict.promoted
    assert verdict.metrics.baseline == "longer"


def test_the_length_rule_is_chosen_on_the_training_pairs_not_on_the_held_out_ones() -> None:
    pairs = holdout(10, num_longer=8)
    shorter = [PreferencePair(f"train {i}", f"short {i}", f"a longer answer {i}") for i in range(20)]

    verdict = judge(model(pairs, right=range(7)), None, pairs, train=shorter)

    assert verdict.promoted
    assert verdict.reason.startswith("accuracy 0.700, shorter-answer-wins has 0.200")
    assert verdict.metrics.longer_wins == 0.8


def test_each_baseline_has_its_accuracy_gain_and_test() -> None:
    pairs = holdout(20, num_longer=14)

    baselines = judge(model(pairs, right=range(18)), None, pairs).metrics.baselines

    assert set(baselines) == {"longer", "shorter", "style"}
    assert baselines["longer"].value == baselines["longer"].train_accuracy == 0.7
    assert baselines["longer"].gain == 0.2
    assert baselines["longer"].p_better == 0.0625  # four pairs differ, all for the challenger
    assert baselines["longer"].p_worse == 1.0


def test_without_a_second_training_prompt_there_is_no_style_rule() -> None:
    pairs = holdout(10, num_longer=5)

    verdict = judge(model(pairs, right=range(10)), None, pairs, train=[pairs[0]] * 5)

    assert verdict.promoted
    assert set(verdict.metrics.baselines) == {"longer", "shorter"}


# The figures


def test_equal_lengths_are_half_right_for_both_rules() -> None:
    pairs = holdout(10, num_longer=6, num_equal=2)

    metrics = judge(model(pairs, right=range(10)), None, pairs).metrics

    assert (metrics.longer_wins, metrics.shorter_wins) == (0.7, 0.3)


def test_the_interval_is_wilsons() -> None:
    pairs, n, p, z = holdout(40, num_longer=20), 40, 0.75, 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))

    metrics = judge(model(pairs, right=range(30)), None, pairs).metrics

    assert metrics.accuracy == 0.75
    assert metrics.interval == pytest.approx([middle - half, middle + half], abs=1e-4)


def test_the_gain_has_an_interval_that_is_the_same_for_the_same_seed() -> None:
    pairs = holdout(40, num_longer=20)
    challenger, champion = model(pairs, right=range(30)), model(pairs, right=range(10, 36))  # gains 10 pairs, loses 6

    metrics = judge(challenger, champion, pairs, seed=1).metrics
    low, high = metrics.gain_interval or (0, 0)

    assert metrics.gain == 0.1
    assert low < 0 < 0.1 < high, "16 pairs that differ, 10 to 6: it may be noise"
    assert (low, high) == pytest.approx((-0.1, 0.3), abs=0.03)  # the normal approximation: 0.1 -+ 1.96 * 0.0987
    assert judge(challenger, champion, pairs, seed=1).metrics == metrics


def test_the_same_outcomes_have_no_gain_and_no_width() -> None:
    pairs = holdout(10, num_longer=5)
    same = model(pairs, right=range(8))

    metrics = judge(same, same, pairs).metrics

    assert (metrics.gain, metrics.gain_interval) == (0.0, (0.0, 0.0))


def test_a_gain_on_every_pair_is_certain() -> None:
    pairs = holdout(10, num_longer=5)

    metrics = judge(model(pairs, right=range(10)), model(pairs, right=[]), pairs).metrics

    assert (metrics.gain, metrics.gain_interval) == (1.0, (1.0, 1.0))


def test_the_verdict_has_the_rewards_and_each_text_is_scored_once() -> None:
    pairs = holdout(10, num_longer=5)
    challenger, champion = model(pairs, right=range(8)), model(pairs, right=range(9))

    verdict = judge(challenger, champion, pairs)

    assert verdict.rewards is not None and verdict.champion_rewards is not None
    assert (verdict.rewards.right.sum(), verdict.champion_rewards.right.sum()) == (8, 9)
    assert (challenger.num_scored, champion.num_scored) == (20, 20)
    assert score_pairs(challenger, [*pairs, *pairs]).gaps.tolist() == [*verdict.rewards.gaps, *verdict.rewards.gaps]
    assert challenger.num_scored == 40, "two pairs of the same texts cost as one"


def test_the_difference_test_is_mcnemars_if_all_is_right_or_wrong() -> None:
    first, second = np.array([1.0] * 9 + [0.0] * 3 + [1.0] * 20), np.array([0.0] * 9 + [1.0] * 3 + [1.0] * 20)

    comparison = compare(first, second, seed=0)

    assert comparison.p_better == pytest.approx(299 / 4096, abs=1e-4)  # P(at least 9 of 12 heads)
    assert comparison.p_worse == pytest.approx(4017 / 4096, abs=1e-3)  # P(at least 3 of 12)
    assert comparison.gain == 6 / 32


def test_outcomes_that_never_differ_are_no_evidence() -> None:
    same = np.array([1.0, 0.0, 1.0])

    assert compare(same, same, seed=0) == Comparison(gain=0.0, gain_interval=(0.0, 0.0), p_better=1.0, p_worse=1.0)


def test_an_interval_stays_between_nothing_and_all() -> None:
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(1.0, 10)[1] == 1.0
    assert share([]) == Share(count=0)
    assert share([1.0] * 4, at_least=5) == Share(count=4)
    won = compare(np.ones(8), np.zeros(8), seed=0, is_pulled=np.ones(8, bool), pull=0.5)  # each stands for three
    assert (won.gain, won.gain_interval) == (1.0, (1.0, 1.0))
