"""Where fields lie, and what <Text> shows: the values were read off label-studio 1.23.2's editor and its sources."""

from typing import Any

import pytest

from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import shown_text, value_at, with_value

CONFIG = """<View><Text name="prompt" value="$prompt"/><Pairwise name="pw" toName="a,b"/>
<Text name="a" value="$left"/><Text name="b" value="$right"/></View>"""
PLAIN = LabelingLayout.from_label_config(CONFIG)
NESTED = LabelingLayout.from_label_config(CONFIG.replace("$left", "$out.left").replace("$right", "$out.right"))
LISTED = LabelingLayout.from_label_config(CONFIG.replace("$left", "$answers[0].text").replace("$right", "$answers[1].text"))
PERSONS: dict[str, Any] = {"prompt": "Name a tree.", "out": {"left": "Oak, by a person", "right": "Elm, by a person", "who": 7}}


# Where a field lies


def test_a_persons_nested_answers_are_read_where_label_studio_shows_them() -> None:
    assert NESTED.answers(PERSONS) == ("Oak, by a person", "Elm, by a person")
    assert LISTED.answers({"answers": [{"text": "Oak"}, {"text": "Elm"}]}) == ("Oak", "Elm")


def test_a_key_that_is_the_whole_path_goes_first() -> None:
    assert NESTED.answers({**PERSONS, "out.left": "flat"}) == ("flat", "Elm, by a person")
    assert NESTED.answers({**PERSONS, "out.left": None})[0] is None
    assert with_value({**PERSONS, "out.left": None}, "out.left", "new") == {**PERSONS, "out.left": "new"}


@pytest.mark.parametrize(
    "data", [{}, {"out": None}, {"out": "text"}, {"out": 5}, {"out": []}, {"out": [["x"]]}, {"out": {"left": {}}}]
)
def test_what_does_not_lie_there_is_no_answer(data: dict[str, Any]) -> None:
    assert NESTED.answers(data) == (None, None)


def test_lists_are_gone_into_by_number() -> None:
    data = {"a": ["zero", ["one", "two"], {"0": "three"}]}
    assert [value_at(data, path) for path in ("a[0]", "a.0", "a[1][1]", "a[2].0", "a[3]", "a.x")] == [
        "zero", "zero", "two", "three", None, None,
    ]  # fmt: skip


def test_an_answer_is_put_there_and_nothing_beside_it_is_lost() -> None:
    before = {"prompt": "Name a tree.", "out": {"left": "", "who": 7}, "more": [1]}
    after = NESTED.with_answers(before, {"out.left": "Oak", "out.right": "Elm"})
    assert after == {"prompt": "Name a tree.", "out": {"left": "Oak", "who": 7, "right": "Elm"}, "more": [1]}
    assert before["out"] == {"left": "", "who": 7}, "the task as it was read stays so"


def test_the_way_there_is_made_if_there_is_none() -> None:
    assert NESTED.with_answers({"out": None}, {"out.right": "Elm"}) == {"out": {"right": "Elm"}}
    answers = {"answers[1].text": "Elm", "answers[0].text": "Oak"}
    assert LISTED.with_answers({}, answers) == {"answers": [{"text": "Oak"}, {"text": "Elm"}]}
    assert LISTED.with_answers({"answers": [{"id": 3}]}, answers) == {"answers": [{"id": 3, "text": "Oak"}, {"text": "Elm"}]}


@pytest.mark.parametrize("held", ["a person's text", 5, True, ["a"]])
def test_a_text_that_lies_in_the_way_stays(held: object) -> None:
    assert not NESTED.has_room({"out": held})
    with pytest.raises(ValueError, match="no place for left"):
        NESTED.with_answers({"out": held}, {"out.left": "Oak"})


def test_a_row_of_a_file_is_laid_where_label_studio_looks() -> None:
    assert NESTED.task_data({"prompt": "Why?", "out.left": "So.", "id": 4}) == {
        "prompt": "Why?",
        "id": 4,
        "out": {"left": "So.", "right": ""},
    }
    assert LISTED.task_data({"prompt": "Why?"}) == {"prompt": "Why?", "answers": [{"text": ""}, {"text": ""}]}
    assert PLAIN.task_data({"prompt": "Why?", "left": None}) == {"prompt": "Why?", "left": "", "right": ""}


# What <Text> shows


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""), ("", ""), (" as it is ", " as it is "), (True, "true"), (False, "false"), ([], ""), (["a", 2, None, True], "a,2,,true"),
        ([["a", ["b"]], "c"], "a,b,c"), (4, "4"), (4.0, "4"), (-0.0, "0"), (0.1, "0.1"), (-1.5, "-1.5"), (42, "42"), (1e21, "1e+21"),
        (123456789012345678901, "123456789012345678901"), (123456789012345678901.0, "123456789012345680000"), (1.5e300, "1.5e+300"), (0.000001, "0.000001"), (1e-7, "1e-7"), (1.25e-8, "1.25e-8"),
        (100, "100"), (1234.5678, "1234.5678"), (2**53 + 1, "9007199254740993"), (-(2**63), "-9223372036854775808"),
        (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_javascript_writes_it(value: object, shown: str) -> None:
    assert shown_text(value) == shown


@pytest.mark.parametrize("value", [{}, {"text": "a"}, [{"role": "user"}], ["a", [{}]]])
def test_what_is_shown_as_object_object_is_nobodys_text(value: object) -> None:
    assert shown_text(value) is None
    assert PLAIN.prompt({"prompt": value}) is None and not PLAIN.has_room({"left": value})


def test_lists_in_lists_without_end_are_no_text() -> None:
    deep: Any = "a"
    for _ in range(900):
        deep = [deep]
    assert shown_text(deep) is None


def test_a_tasks_prompt_and_answers_come_from_its_data() -> None:
    task = {"prompt": " Why? ", "left": "So.", "right": "שלום 👩‍👩‍👧", "other": 1}
    assert PLAIN.prompt(task) == " Why? "
    assert PLAIN.answers(task) == ("So.", "שלום 👩‍👩‍👧")
    assert PLAIN.answers({"left": 4, "right": ["a", "b"]}) == ("4", "a,b")


@pytest.mark.parametrize("value", [None, "", "  \n", [], [""], {"text": "a"}])
def test_what_is_missing_blank_or_no_text_is_none(value: object) -> None:
    assert PLAIN.prompt({"prompt": value}) is None
    assert PLAIN.answers({"left": value, "right": "yes"}) == (None, "yes")
    assert PLAIN.prompt({}) is None


def test_half_an_emoji_becomes_a_replacement_character_that_can_be_encoded() -> None:
    assert PLAIN.prompt({"prompt": "cut here \ud83d"}) == "cut here \N{REPLACEMENT CHARACTER}"
