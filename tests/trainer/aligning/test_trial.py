"""A new generator before its judge: one that computes no numbers, and one whose distance to its base is none."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from preference.errors import TrainingError
from preference.generation.jobs import Adapter
from preference.projects.generators import BASE, Generators
from tests.support.aligned_house import SHORT, AlignedHouse
from tests.support.killed_alignments import killed
from trainer.aligning import trial
from trainer.aligning.alignment import UnfinishedAlignment


def test_adapters_that_compute_no_numbers_are_not_published(house: AlignedHouse) -> None:
    house.judge(64)
    killed(house, SHORT, beginning="judging it beside")
    path = UnfinishedAlignment(house.folder).version / "adapter_model.safetensors"
    save_file({name: torch.full_like(tensor, 1e30) for name, tensor in load_file(path).items()}, path)

    with pytest.raises(TrainingError, match=r"^What it learnt gives no numbers as probabilities, so it is not published; try"):
        house.align(SHORT)

    assert Generators(house.folder).all() == [] and not UnfinishedAlignment(house.folder).exists


def test_one_whose_distance_is_no_number_is_neither_scaled_nor_promoted(
    house: AlignedHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if only long texts overflowed, in a half-precision format: the probe is well, and answers are not."""

    def no_number(engine: object, prompts: object, written: object, adapter: Adapter) -> float:
        return math.nan

    monkeypatch.setattr(trial, "distance_to_base", no_number)
    house.judge(120)

    ended = house.align()

    card = house.card(ended)
    assert (card.promoted, card.reason) == (False, "how far it is from the base is not known: its distance is no number")
    assert card.scaled_by is None and card.metrics.kl is None
    assert Generators(house.folder).champion() == BASE
