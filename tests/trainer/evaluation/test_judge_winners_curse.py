"""What choosing a champion does to the accuracy that is measured on the comparisons by which it was chosen."""

import numpy as np
import pytest

from preference.labelling.pairs import PreferencePair
from preference.report_card.card import ReportCard
from preference.report_card.figures import HeldOutAccuracy
from preference.report_card.winners_curse import excess_of
from tests.support.fitted_once import style_is_fitted_once  # noqa: F401 - a fixture
from tests.support.known_rewards import holdout, model
from trainer.evaluation.judge import LoadedChampion, judge

TRUTH, NUM_ROUNDS, NUM_PROJECTS = 0.7, 12, 16
TRAIN = [PreferencePair(f"train {n}", "one answer" + "." * (n % 3), "another one") for n in range(8)]


def excess(num_pairs: int, *, seed: int, num_rounds: int = NUM_ROUNDS) -> float:
    """By how much the champion's accuracy is above the truth, in a project whose versions are right equally often."""
    chance, pairs = np.random.default_rng(seed), holdout(num_pairs, num_longer=num_pairs // 2)
    champion = None
    for number in range(num_rounds):
        challenger = model(pairs, right=np.flatnonzero(chance.uniform(size=num_pairs) < TRUTH).tolist())
        verdict = judge(challenger, champion, pairs, train=TRAIN)
        if verdict.promoted:
            champion = LoadedChampion(challenger, ReportCard(num_train_pairs=8 * number, metrics=verdict.metrics))
    assert champion is not None and champion.card is not None and champion.card.metrics.accuracy is not None
    return champion.card.metrics.accuracy - TRUTH


@pytest.mark.parametrize("num_pairs", [12, 30])
def test_a_champions_accuracy_is_about_as_much_too_high_as_its_card_says(num_pairs: int) -> None:
    measured = np.mean([excess(num_pairs, seed=seed) for seed in range(NUM_PROJECTS)])

    said = excess_of(HeldOutAccuracy(accuracy=0.8, num_pairs=num_pairs), promoted=True)
    assert said is not None and measured == pytest.approx(said, abs=0.05)


def test_the_first_versions_accuracy_is_hardly_too_high() -> None:
    first, third = (np.mean([excess(40, seed=seed, num_rounds=number) for seed in range(60)]) for number in (1, 3))

    assert abs(first) < 0.02 and third > first + 0.02
