from dataclasses import replace
from typing import Any, get_args

import pytest

from preference.labelling.controls.criteria import NONE
from preference.labelling.controls.named import Strength, Tag
from preference.labelling.controls.verdict import VerdictControl
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise, ParsedResult, Suggest
from tests.support.annotations import FULL, JUDGED, PLAIN, tag_result

REWARDED = LabelingLayout(
    "pw", ("first", "second"), ("a", "b"), "prompt", (Tag("reward1", "first"), Tag("reward2", "second"))
)  # fmt: skip
WORDS = ("slightly", "clearly", "far")
IN_WORDS = replace(FULL, strength=Strength("strength", 3, tuple(frozenset({word}) for word in WORDS)))


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


@pytest.mark.parametrize("layout", [PLAIN, REWARDED], ids=["plain", "rewarded"])
@pytest.mark.parametrize(("rewards", "side"), [((2.0, -1.0), "left"), ((-2.0, -1.0), "right")])
def test_a_suggestion_is_read_back_as_the_side_with_the_higher_reward(
    layout: LabelingLayout, rewards: tuple[float, float], side: str
) -> None:
    assert Pairwise.choice(layout, Pairwise.suggestion(layout, rewards)) == side


def test_a_suggestion_points_at_the_first_answers_tag() -> None:
    assert Pairwise.suggestion(PLAIN, [0.1, 0.2]) == [
        {"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "right"}}
    ]


def test_equal_rewards_suggest_the_left_side() -> None:
    assert Pairwise.suggestion(PLAIN, [0.5, 0.5])[0]["value"] == {"selected": "left"}


def test_both_rewards_are_shown_rounded_if_the_config_has_tags_for_them() -> None:
    assert Pairwise.suggestion(REWARDED, [1.23456, -0.98765])[1:] == [
        {"from_name": "reward1", "to_name": "first", "type": "number", "value": {"number": 1.235}, "readonly": True},
        {"from_name": "reward2", "to_name": "second", "type": "number", "value": {"number": -0.988}, "readonly": True},
    ]


def test_without_show_rewards_no_reward_is_in_the_result() -> None:
    regions = Pairwise.suggestion(REWARDED, [1.0, 2.0], show_rewards=False)
    assert [region["value"] for region in regions] == [{"selected": "right"}]


def test_a_config_with_one_reward_tag_shows_that_reward_alone() -> None:
    right_only = LabelingLayout("c", ("a", "b"), ("a", "b"), "p", (None, Tag("reward2", "b")))
    numbers = [r for r in Pairwise.suggestion(right_only, [1.0, 2.0]) if r["type"] == "number"]
    assert [(region["from_name"], region["value"]) for region in numbers] == [("reward2", {"number": 2.0})]


@pytest.mark.parametrize("to_name", ["comparison", "answer1", "answer1,answer2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_choice_is_read_whatever_its_to_name(to_name: str, side: str) -> None:
    assert Pairwise.choice(PLAIN, [region(side, to_name=to_name)]) == side


def test_a_choice_is_read_behind_regions_of_other_controls() -> None:
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


# What a prediction speaks for


@pytest.mark.parametrize(("rewards", "side"), [((1.0, 2.0), "right"), ((-1.0, -2.0), "left")])
def test_every_control_shows_as_much_as_is_set_and_reads_it_back(rewards: tuple[float, float], side: str) -> None:
    results = {suggest: Pairwise.suggestion(REWARDED, rewards, suggest=suggest) for suggest in get_args(Suggest)}

    assert [len(results[suggest]) for suggest in ("choice", "scores", "none")] == [3, 2, 0]
    assert results["choice"][1:] == results["scores"] and Pairwise.choice(REWARDED, results["scores"]) is None
    assert [Pairwise.suggested(REWARDED, results[suggest]) for suggest in ("choice", "scores", "none")] == [side, side, None]


@pytest.mark.parametrize("rewards", [(1.0, 1.0), (None, 1.0), ("2", 1.0)])
def test_rewards_that_are_alike_or_no_numbers_speak_for_no_side(rewards: tuple[Any, Any]) -> None:
    result = [
        {"from_name": name, "type": "number", "value": {"number": number}}
        for name, number in zip(("reward1", "reward2"), rewards, strict=True)
    ]

    assert Pairwise.suggested(REWARDED, result) is None
    assert Pairwise.suggested(PLAIN, Pairwise.suggestion(PLAIN, (1.0, 2.0), suggest="scores")) is None


# Everything that an annotation says


@pytest.mark.parametrize(
    ("name", "judgement"),
    [
        ("left", ParsedResult("left")),
        ("right", ParsedResult("right")),
        ("tie", ParsedResult("tie")),
        ("both_bad", ParsedResult("both_bad")),
        ("strength_and_written", ParsedResult("left", strength=1 / 3, written="Air scatters blue light most.")),
        ("written_alone", ParsedResult(written="Air scatters blue light most.")),
    ],
)
def test_what_annotators_clicked_in_label_studio_is_what_is_read(name: str, judgement: ParsedResult) -> None:
    layout = LabelingLayout.from_label_config(JUDGED["label_config"])
    (annotation,) = JUDGED["tasks"][name]["annotations"]
    assert Pairwise.judgement(layout, annotation["result"]) == judgement


def test_every_control_reads_its_suggestion_as_a_judgement() -> None:
    assert Pairwise.judgement(REWARDED, Pairwise.suggestion(REWARDED, (1.0, 2.0))) == ParsedResult("right")


@pytest.mark.parametrize("order", [1, -1])
def test_the_verdict_goes_before_the_side_that_stays_lit(order: int) -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": ["Tie"]})]
    assert Pairwise.judgement(FULL, result[::order]).outcome == "tie"


def test_a_side_chosen_by_key_counts_more_than_the_suggested_one() -> None:
    result = [region("left", origin="prediction"), tag_result("verdict", "choices", {"choices": ["right"]})]
    assert Pairwise.judgement(FULL, result) == ParsedResult("right")


def test_new_answers_are_no_judgement_whatever_is_lit() -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": ["new_answers"]})]
    assert Pairwise.judgement(FULL, result) == ParsedResult(wants_new_answers=True)
    assert Pairwise.judgement(PLAIN, result) == ParsedResult(is_of_another_config=True), (
        "a config without a verdict has no such choice"
    )


@pytest.mark.parametrize("words", [["Ganz klar B"], ["A is not better"], ["Tie", "Both bad"], ["left", "right"], [["A", "Good"]]])
def test_beside_a_verdict_that_is_not_understood_a_side_says_nothing(words: list[Any]) -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": words})]
    assert Pairwise.judgement(FULL, result) == ParsedResult(is_not_understood=True)


def test_who_cannot_choose_makes_no_judgement_whatever_is_lit() -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": ["Can't choose"]})]
    assert Pairwise.judgement(FULL, result) == ParsedResult(is_unsure=True)


@pytest.mark.parametrize("words", [["B is better", "B is better"], ["B is better", "Long"], [["Sides", "B is better"]]])
def test_of_several_choices_the_understood_one_counts(words: list[Any]) -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": words})]
    assert Pairwise.judgement(FULL, result) == ParsedResult("right")


@pytest.mark.parametrize("words", [[], [""], [" "], [3, None], None])
def test_a_verdict_without_a_word_leaves_the_side(words: Any) -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": words})]
    assert Pairwise.judgement(FULL, result) == ParsedResult("left")


def test_a_verdict_counts_only_if_the_config_has_one_even_in_words_of_an_earlier_config() -> None:
    result = [region("left"), tag_result("verdict", "choices", {"choices": ["About the same"]})]
    assert Pairwise.judgement(PLAIN, result) == ParsedResult(is_of_another_config=True)
    assert Pairwise.judgement(FULL, result).outcome == "tie"


def test_words_say_by_how_much_unless_stars_do() -> None:
    layout = replace(FULL, verdict=VerdictControl.of("verdict", [("A is much better", "x1"), ("A is better", "x2")]))
    much, plain = (tag_result("verdict", "choices", {"choices": [alias]}) for alias in ("x1", "x2"))
    assert Pairwise.judgement(layout, [much]) == ParsedResult("left", strength=1.0)
    assert Pairwise.judgement(layout, [plain]) == ParsedResult("left", strength=2 / 3)
    stars = tag_result("strength", "rating", {"rating": 2})
    assert Pairwise.judgement(layout, [much, stars]) == ParsedResult("left", strength=1 / 3)


@pytest.mark.parametrize(("stars", "strength"), [(1, 0.0), (2, 1 / 3), (3, 2 / 3), (4, 1.0)])
def test_stars_are_a_strength_from_zero_to_one(stars: int, strength: float) -> None:
    result = [region("left"), tag_result("strength", "rating", {"rating": stars})]
    assert Pairwise.judgement(FULL, result) == ParsedResult("left", strength=strength)


@pytest.mark.parametrize(("word", "strength"), [("slightly", 0.0), ("clearly", 0.5), ("far", 1.0)])
def test_words_are_a_strength_from_zero_to_one(word: str, strength: float) -> None:
    result = [region("left"), tag_result("strength", "choices", {"choices": [word]})]
    assert Pairwise.judgement(IN_WORDS, result) == ParsedResult("left", strength=strength)


@pytest.mark.parametrize("stars", [0, 5, -1, True, "3", None, float("nan"), [2]])
def test_a_number_of_stars_that_the_config_does_not_have_is_no_strength(stars: object) -> None:
    assert Pairwise.judgement(FULL, [tag_result("strength", "rating", {"rating": stars})]).strength is None


def test_one_step_alone_is_no_strength() -> None:
    layout = replace(FULL, strength=Strength("strength", 1))
    assert Pairwise.judgement(layout, [tag_result("strength", "rating", {"rating": 1})]).strength is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (["One."], "One."),
        ("One.", "One."),
        (["One.", "Two."], "One.\nTwo."),
        ([" kept as it is "], " kept as it is "),
        (["cut \ud83d"], "cut \N{REPLACEMENT CHARACTER}"),
        (["שלום 👩‍👩‍👧"], "שלום 👩‍👩‍👧"),
        (["", "  "], None),
        ([], None),
        ([3, None], None),
        (None, None),
    ],
)
def test_a_written_answer_is_its_text_and_several_pieces_are_its_lines(text: object, written: str | None) -> None:
    assert Pairwise.judgement(FULL, [tag_result("better_answer", "textarea", {"text": text})]).written == written


@pytest.mark.parametrize("kind", ["pairwise", "ranker", "choices", "rating"])
def test_a_control_that_the_config_no_longer_has_is_noticed(kind: str) -> None:
    layout = replace(FULL, control_names=frozenset({"comparison", "tone"}))
    assert Pairwise.judgement(layout, [tag_result("pw", kind, {"selected": "left"})]) == ParsedResult(is_of_another_config=True)
    of_tone = Pairwise.judgement(layout, [tag_result("tone", kind, {"selected": "left"})])
    assert replace(of_tone, criteria=NONE) == ParsedResult()


def test_a_reward_that_was_shown_by_an_earlier_config_is_no_judgement() -> None:
    assert Pairwise.judgement(FULL, [tag_result("reward1", "number", {"number": 1})]) == ParsedResult()


VALUES: list[Any] = [
    None,
    True,
    0,
    1.5,
    "left",
    [],
    ["left"],
    [None],
    {},
    {"selected": ["left"]},
    {"choices": {}},
    {"text": {"a": 1}},
]
NAMES: tuple[Any, ...] = ("comparison", "verdict", "strength", "better_answer", None, ["comparison"], {})
KINDS: tuple[Any, ...] = ("pairwise", "choices", "rating", "textarea", None, 7)


@pytest.mark.parametrize("result", [None, "left", 7, {}, {"from_name": "comparison"}, [None], [[]], ["left"], [1], [{}]])
def test_what_is_no_list_of_regions_says_nothing(result: object) -> None:
    assert Pairwise.judgement(FULL, result) == ParsedResult()
    assert Pairwise.choice(FULL, result) is None


def test_no_malformed_region_raises_or_counts() -> None:
    values = VALUES + [{key: value} for key in ("selected", "choices", "rating", "text") for value in VALUES[:4] + VALUES[7:]]
    regions = [{"from_name": n, "type": k, "value": v} for n in NAMES for k in KINDS for v in values]
    proper = {("strength", "rating", "{'rating': 1.5}")}
    for layout in (PLAIN, FULL, IN_WORDS):
        for malformed in regions:
            if (str(malformed["from_name"]), malformed["type"], str(malformed["value"])) not in proper:
                judgement = Pairwise.judgement(layout, [malformed])
                assert replace(judgement, is_of_another_config=False) == ParsedResult(), malformed
        assert Pairwise.judgement(layout, [*regions, region("right")]).outcome == "right"
