from math import log

import numpy as np
import pytest

from trainer.evaluation.drift import log_evidence
from trainer.evaluation.intervals import Array

TARGET, REFUTED = 0.8, log(20)


def votes(chance: np.random.Generator, count: int, share: float) -> Array:
    return (chance.random(count) < share).astype(float)


def first_refuted(agrees: Array, *, start: int = 1, step: int = 1) -> int | None:
    """After how many votes somebody who looks after every `step` of them withdraws the certificate."""
    return next((n for n in range(start, len(agrees) + 1, step) if log_evidence(agrees[:n], target=TARGET) >= REFUTED), None)


def test_of_certificates_that_are_just_true_a_twentieth_at_most_is_ever_withdrawn_whenever_somebody_looks() -> None:
    chance = np.random.default_rng(3)
    refuted = [first_refuted(votes(chance, 120, TARGET)) is not None for _ in range(100)]
    assert np.mean(refuted) <= 0.05


def test_a_change_is_found_after_few_judgements_and_after_many() -> None:
    chance = np.random.default_rng(4)
    early = [first_refuted(votes(chance, 300, 0.5), step=5) or 300 for _ in range(40)]
    late = [
        (first_refuted(np.append(votes(chance, 300, 0.9), votes(chance, 300, 0.5)), start=301, step=5) or 600) - 300
        for _ in range(40)
    ]
    assert np.median(early) < 60 and np.median(late) < 90


def test_no_judgement_is_no_evidence_and_agreement_speaks_for_the_certificate() -> None:
    assert log_evidence(np.zeros(0), target=TARGET) == 0.0
    assert log_evidence(np.ones(2000), target=TARGET) < log_evidence(np.ones(20), target=TARGET) < 0.0


def test_the_bet_is_the_mixture_that_it_says() -> None:
    """After two votes, by hand: an integral over the lower shares for each of two beginnings, and the weight of later ones."""
    shares = (np.arange(200_000) + 0.5) / 200_000 * TARGET
    against = (1 - shares) / (1 - TARGET)
    both, last = (shares / TARGET * against).mean(), against.mean()
    assert log_evidence(np.array([1.0, 0.0]), target=TARGET) == pytest.approx(log(both / 2 + last / 6 + 1 / 3), abs=1e-6)
