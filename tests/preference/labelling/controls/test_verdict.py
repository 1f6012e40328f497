import pytest

from preference.labelling.controls.verdict import Meaning, VerdictControl


def read(*values: str) -> VerdictControl:
    return VerdictControl.of("verdict", [(value, None) for value in values])


def meanings(*values: str) -> list[Meaning | None]:
    control = read(*values)
    return [control.meaning(value) for value in values]


@pytest.mark.parametrize(
    "words",
    [
        "Tie", "tie", "TIED", "Equal", "Same", "About the same", "about_the_same", "Both good!", "  equally  good ", "It's a tie", "A = B",
        "Both are equally good", "No preference", "SAME",
    ],
)  # fmt: skip
def test_these_words_are_a_tie(words: str) -> None:
    assert VerdictControl("verdict").meaning(words) == "tie"


@pytest.mark.parametrize(
    "words", ["Both bad", "both_bad", "Both-bad.", "Neither", "BAD", "Equally bad", "tie (bothbad)", "None of the above"]
)
def test_these_words_are_both_bad(words: str) -> None:
    assert VerdictControl("verdict").meaning(words) == "both_bad"


@pytest.mark.parametrize(
    "words",
    [
        "Unsure",
        "Not sure",
        "I'm not sure",
        "Can't choose",
        "I can\N{RIGHT SINGLE QUOTATION MARK}t decide",
        "Cannot tell",
        "Hard to say",
        "Don't know",
        "N/A",
    ],
)
def test_these_words_are_unsure(words: str) -> None:
    assert VerdictControl("verdict").meaning(words) == "unsure"


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("Left", "left"), ("First is better.", "left"), ("right_answer", "right"), ("RIGHT", "right"), ("New answers", "new_answers"),
        ("A", "left"), ("b", "right"), ("Response A", "left"), ("Output (b)", "right"), ("model_b", "right"), ("Option B is better", "right"),
        ("A is better than B", "left"), ("B is worse than A", "left"), ("I prefer the second one", "right"), ("A wins", "left"), ("A > B", "left"),
        ("A<B", "right"), ("[[B>>A]]", "right"), ("2nd answer", "right"), ("1. B is better", "right"), ("b) A is better", "left"),
        ("Strongly prefer A", "left"), ("B is a lot better", "right"), ("the left answer is a little bit better", "left"),
    ],
)  # fmt: skip
def test_these_words_are_a_side_or_ask_for_new_answers(words: str, meaning: str) -> None:
    assert VerdictControl("verdict").meaning(words) == meaning


@pytest.mark.parametrize(
    "words",
    [
        "", "?", "Left out", "Answer 3", "Sure", "tie-dye", "not bad", "A is not better", "A better answer", "A and B", "A/B", "A++", "B-",
        "Better", "much better", "A is good", "neither left nor right", "right or wrong", "A better B", "1", "Response 2",
    ],
)  # fmt: skip
def test_other_words_are_no_verdict(words: str) -> None:
    assert VerdictControl("verdict").meaning(words) is None


@pytest.mark.parametrize(
    "values", [("1", "2"), ("Response 1", "Response 2"), ("Model1", "Model2"), ("Option 1 is better", "Option 2 is better")]
)
def test_numbers_of_listed_choices_are_sides(values: tuple[str, str]) -> None:
    assert meanings(*values) == ["left", "right"]


@pytest.mark.parametrize("values", [("0", "1"), ("1", "2", "3", "4", "5"), ("Response 0", "Response 1"), ("A", "B", "C")])
def test_a_scale_or_a_count_from_nought_has_no_sides(values: tuple[str, ...]) -> None:
    assert meanings(*values) == [None] * len(values)
    assert list(read(*values).not_understood) == [(value,) for value in values]


def test_the_alias_of_a_choice_that_is_not_understood_is_not_guessed_either() -> None:
    control = VerdictControl.of("verdict", [("Poor", "1"), ("Fair", "2"), ("Good", "3")])
    assert [control.meaning(alias) for alias in ("1", "2", "3")] == [None] * 3


@pytest.mark.parametrize(
    ("value", "alias", "meaning"),
    [
        ("Unentschieden", "tie", "tie"), ("Neither", "tie", "tie"), ("B++", "right", "right"), ("A", "unsure", "unsure"),
        ("A is better", "x", "left"), ("Die zweite ist viel besser", "B is much better", "right"), ("Tie", "1", "tie"),
    ],
)  # fmt: skip
def test_an_alias_says_what_is_meant(value: str, alias: str, meaning: str) -> None:
    control = VerdictControl.of("verdict", [(value, alias)])
    assert control.meaning(value) == control.meaning(alias) == meaning
    assert control.not_understood == ()


def test_words_say_by_how_much() -> None:
    values = [
        "A is much better",
        "A is better",
        "A is slightly better",
        "Negligibly better: A",
        "Tie",
        "B is significantly better",
    ]
    control = read(*values)
    assert [control.share(value) for value in values] == [1.0, 2 / 3, 1 / 3, 0.0, None, 1.0]
    assert read("A is better", "B is better").share("A is better") is None, "nobody says by how much"
    assert VerdictControl("verdict").share("A >> B") == 1.0


def test_an_alias_keeps_how_much_its_value_says_unless_several_share_it() -> None:
    control = VerdictControl.of(
        "verdict", [("A is much better", "left"), ("B is much better", "b2"), ("B is slightly better", "b1")]
    )
    assert [control.share(alias) for alias in ("left", "b2", "b1")] == [1.0, 1.0, 1 / 3]
    shared = VerdictControl.of("verdict", [("A is much better", "left"), ("A is slightly better", "left")])
    assert (shared.meaning("left"), shared.share("left")) == ("left", None)
