from typing import Any

import pytest

from preference.controls import CONTROLS, Pairwise
from preference.layout import LabelingLayout, Tag

PLAIN = LabelingLayout("comparison", ("answer1", "answer2"), ("answer1", "answer2"), "prompt", (None, None))
REWARDED = LabelingLayout(
    "pw", ("first", "second"), ("a", "b"), "prompt", (Tag("reward1", "first"), Tag("reward2", "second"))
)  # fmt: skip


def region(selected: object, **changes: Any) -> dict[str, Any]:
    """A region as label-studio 1.23.2's editor writes it by hand."""
    return {
        "from_name": "comparison",
        "to_name": "comparison",
        "type": "pairwise",
        "value": {"selected": selected},
        "origin": "manual",
        **changes,
    }


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
@pytest.mark.parametrize("layout", [PLAIN, REWARDED], ids=["plain", "rewarded"])
@pytest.mark.parametrize(("rewards", "side"), [((2.0, -1.0), "left"), ((-2.0, -1.0), "right")])
def test_a_suggestion_is_read_back_as_the_side_with_the_higher_reward(
    control: type[Pairwise], layout: LabelingLayout, rewards: tuple[float, float], side: str
) -> None:
    assert control.choice(layout, control.suggestion(layout, rewards)) == side


def test_a_suggestion_points_at_the_first_answers_tag() -> None:
    assert Pairwise.suggestion(PLAIN, [0.1, 0.2]) == [
        {"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "right"}}
    ]


def test_equal_rewards_suggest_the_left_side() -> None:
    assert Pairwise.suggestion(PLAIN, [0.5, 0.5])[0]["value"] == {"selected": "left"}


def test_both_rewards_are_shown_rounded_where_the_config_has_tags_for_them() -> None:
    assert Pairwise.suggestion(REWARDED, [1.23456, -0.98765])[1:] == [
        {"from_name": "reward1", "to_name": "first", "type": "number", "value": {"number": 1.235}},
        {"from_name": "reward2", "to_name": "second", "type": "number", "value": {"number": -0.988}},
    ]


def test_a_config_with_one_reward_tag_shows_that_reward_alone() -> None:
    right_only = LabelingLayout("c", ("a", "b"), ("a", "b"), "p", (None, Tag("reward2", "b")))
    numbers = [r for r in Pairwise.suggestion(right_only, [1.0, 2.0]) if r["type"] == "number"]
    assert numbers == [{"from_name": "reward2", "to_name": "b", "type": "number", "value": {"number": 2.0}}]


@pytest.mark.parametrize("to_name", ["comparison", "answer1", "answer1,answer2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_choice_is_read_whatever_its_to_name(to_name: str, side: str) -> None:
    assert Pairwise.choice(PLAIN, [region(side, to_name=to_name)]) == side


def test_a_choice_is_found_behind_regions_of_other_controls() -> None:
    number = {"from_name": "reward1", "to_name": "answer1", "type": "number", "value": {"number": 1}}
    assert Pairwise.choice(PLAIN, [number, region("left", from_name="tone"), region("right")]) == "right"


@pytest.mark.parametrize(
    "result",
    [
        [],
        [region("none")],
        [region(None)],
        [region("left", from_name="tone")],
        [region("left", type="choices")],
        [region("left", value=None)],
        [{"from_name": "comparison", "type": "pairwise"}],
    ],
)
def test_a_result_that_names_no_side_is_no_choice(result: list[dict[str, Any]]) -> None:
    assert Pairwise.choice(PLAIN, result) is None
