import dataclasses
from typing import Any

import numpy as np
import pytest

from preference.labelling.control_group import ControlGroup, is_control
from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import ServingOrder
from preference.report_card.shares import Share
from tests.support.known_rewards import holdout
from trainer.reporting.serving_order import serving_order

RIGHT = np.array([1.0] * 20 + [0.0] * 10)
CONTROL = next(number for number in range(1, 1000) if is_control(number, 10))
OTHER = next(number for number in range(1, 1000) if not is_control(number, 10))
SEEN: dict[str, Any] = {"suggested_version": "v1", "suggested_confidence": 0.6, "suggested_side": "left"}


def pairs(*kinds: dict[str, Any]) -> list[PreferencePair]:
    """Thirty comparisons, those of each kind in turn."""
    return [dataclasses.replace(pair, **kinds[i % len(kinds)]) for i, pair in enumerate(holdout(30, num_longer=15))]


def test_the_comparisons_that_were_served_hardest_first_are_counted_and_the_others_have_an_accuracy() -> None:
    found = serving_order(pairs({**SEEN, "is_by_confidence": True}, SEEN, {}), RIGHT)

    assert found == ServingOrder(10, Share(0.65, (0.4329, 0.8188), 20))


def test_without_any_there_is_nothing_to_say() -> None:
    assert serving_order(pairs(SEEN, {}), RIGHT) is None
    assert serving_order([], np.zeros(0)) is None


def test_too_few_others_have_no_accuracy() -> None:
    found = serving_order(pairs(*[{**SEEN, "is_by_confidence": True}] * 4, {}), RIGHT)

    assert found == ServingOrder(24, Share(count=6))


@pytest.mark.parametrize(
    ("kinds", "num_by_confidence"),
    [
        ([{"is_blind": True, "suggested_version": "v1", "task_id": CONTROL}], 0),
        ([{"is_blind": True, "suggested_version": "v1", "task_id": OTHER}], 30),
        ([{"is_blind": True, "suggested_version": "v1", "task_id": OTHER}, SEEN], 0),
        ([{"is_blind": True, "suggested_version": "v1", "task_id": OTHER}, {**SEEN, "suggested_version": "v2"}], 15),
    ],
)
def test_a_task_that_showed_nothing_counts_by_the_control_group_and_by_its_version(
    kinds: list[dict[str, Any]], num_by_confidence: int
) -> None:
    found = serving_order(pairs(*kinds), RIGHT, control=ControlGroup(10))

    assert (found.num_by_confidence if found else 0) == num_by_confidence
