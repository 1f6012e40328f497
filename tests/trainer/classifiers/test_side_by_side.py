"""What an export costs, in figures."""

from pathlib import Path

import numpy as np
import pytest

from preference.labelling.pairs import PreferencePair
from tests.support.reward_models import make_sequence
from trainer.classifiers.elsewhere import ReadElsewhere
from trainer.classifiers.side_by_side import figure_rows, side_by_side
from trainer.evaluation.pair_rewards import Rewards


@pytest.fixture
def model(tiny_chat_base: Path) -> ReadElsewhere:
    """Its template ends an answer with a line break, which Pairloop does not read."""
    made = make_sequence(tiny_chat_base)
    return ReadElsewhere(made.description, made.network, made.tokenizer)


def test_the_figures_are_of_each_side_and_of_both_together(model: ReadElsewhere) -> None:
    pairs = [PreferencePair(f"Why {i}?", "Yes.", "No.") for i in range(4)]
    version = Rewards(np.array([1.0, 2, 3, 0]), np.array([0.0, 0, 0, 1]))
    exported = Rewards(np.array([2.0, 3, 0, 0]), np.array([0.0, 1, 1, 2]))

    figures = side_by_side(version, exported, pairs, model)

    assert (figures.version.value, figures.exported.value, figures.agreement.value) == (0.75, 0.5, 0.75)
    assert 0 < (figures.correlation or 0) < 1
    assert (figures.num_read_otherwise, figures.num_answers) == (8, 8)
    assert [what for what, _ in figure_rows(figures)] == [
        "held-out accuracy of the version in Pairloop",
        "held-out accuracy of the exported model",
        "comparisons in which both prefer the same answer",
        "correlation of their rewards",
        "answers that other programs read as other tokens than Pairloop",
    ]


def test_without_held_out_comparisons_there_are_no_rows(model: ReadElsewhere) -> None:
    nothing = Rewards(np.zeros(0), np.zeros(0))
    assert figure_rows(side_by_side(nothing, nothing, [], model)) == []
