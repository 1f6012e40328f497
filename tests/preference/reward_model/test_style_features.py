import math
import random

import numpy as np
import pytest

from preference.reward_model.style_features import NAMES, NUM_STYLE, style


def number(name: str, answer: str, *, prompt: str = "") -> float:
    return float(style(prompt, answer)[NAMES.index(name)])


def test_there_is_a_number_for_each_name() -> None:
    assert len(set(NAMES)) == len(NAMES) == NUM_STYLE
    row = style("Why?", "Because.")
    assert row.shape == (NUM_STYLE,)
    assert row.dtype == np.dtype(np.float32)


COUNTS: dict[str, tuple[str, int]] = {
    "characters": (" seven c \n", 7),
    "words": ("I'm here: 3 mice, don\N{RIGHT SINGLE QUOTATION MARK}t you_know", 6),
    "line breaks": ("\none\ntwo\n\nthree\n", 3),
    "list items": ("Things:\n- one\n * two\n\t• three\n\n4. four\n 5) five\nsix - no\n-no\n6.no", 5),
    "digits": ("12 of 345 in the 9th", 6),
    "question marks": ("What? Why?? No.", 3),
    "exclamation marks": ("Oh! No!!", 3),
    "commas": ("a, b,c", 2),
    "sentences": ("One. Two! Three? 1.5 is no end... Four", 4),
    "quotes": ('He said "no" and "', 3),
    "refusal words": ("Sorry, I can\N{RIGHT SINGLE QUOTATION MARK}t and won't.", 3),
}
SHARES: dict[str, list[tuple[str, str, float]]] = {  # (prompt, answer, number)
    "share of self words": [("", "I'd say we like my cat", 3 / 6), ("", "It is so", 0)],
    "share of reader words": [("", "You can do your best", 2 / 5), ("", "It is so", 0)],
    "starts with self": [
        ("", "I think so", 1),
        ("", "I\N{RIGHT SINGLE QUOTATION MARK}m sure", 1),
        ("", "So I think", 0),
        ("", "It is", 0),
    ],
    "starts with yes or sure": [("", "Yes, of course", 1), ("", "Sure!", 1), ("", "Surely", 0), ("", "Oh yes", 0)],
    "starts with no": [("", "No.", 1), ("", "Not so", 0), ("", "Oh no", 0)],
    "sorry at the start": [("", "I am so very sorry", 1), ("", "one two three four five six sorry", 0)],
    "not at the start": [("", "That is not so", 1), ("", "We can't", 1), ("", "one two three four five six not", 0)],
    "share of different words": [("", "The cat and the dog and", 4 / 6), ("", "one two", 1)],
    "words of the prompt": [("the cat sat", "The cat and the dog", 2 / 4), ("a dog", "a cat", 1 / 2), ("", "a cat", 0)],
    "word length": [("", "a bcd 12345", 2)],
    "ends as a sentence": [("", "Yes.", 1), ("", 'She said "yes!"', 1), ("", "Why? ", 1), ("", "Yes", 0), ("", "1.5", 0)],
    "ends with a question": [("", "Why? \n", 1), ("", "Why? So.", 0)],
    "starts as the prompt does": [("The cat sat", "the CAT, it", 1), ("The cat", "The dog", 0)],
}


def test_every_number_has_an_example() -> None:
    assert {*COUNTS, *SHARES} == set(NAMES)


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_the_log_of_1_and_how_often(name: str) -> None:
    answer, count = COUNTS[name]
    assert number(name, answer) == pytest.approx(math.log1p(count))
    assert number(name, "") == 0


@pytest.mark.parametrize("name", SHARES)
def test_a_share_or_a_question_is_what_its_name_says(name: str) -> None:
    for prompt, answer, expected in SHARES[name]:
        assert number(name, answer, prompt=prompt) == pytest.approx(expected), answer


TEXTS = {
    "empty": "",
    "only white space": " \n\t\u2028 ",
    "emoji": "👩‍👩‍👧🙂🏳️‍🌈",
    "only punctuation": "?!...,,\"'-*•()",
    "only digits": "1234567890 ²½٣",
    "Hebrew, Chinese and Hindi": "שלום 你好\uff0c世界。 नमस्ते",
    "marks without a letter": "\u0301\u0301\u200d\u202e",
    "half a surrogate pair": "a\ud83d b",
    "null": "\0",
    "a letter that grows in lower case": "İ" * 50,
    "40 characters": "A" * 40,
    "40,000 characters": "word " * 8_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_has_finite_numbers(text: str) -> None:
    for prompt, answer in ((text, "So."), ("Why?", text), (text, text)):
        row = style(prompt, answer)
        assert np.isfinite(row).all()
        assert (row >= 0).all()


PATHOLOGICAL = {
    "blank lines": "a" + "\n" * 200_000 + "b",
    "blank lines of spaces": "a" + " \n" * 100_000 + "b",
    "all kinds of white space": "a" + "\t\n\r\x0b" * 50_000 + "b",
    "one line of spaces": "a\n" + " " * 200_000 + "b",
    "one number": "a\n" + "1" * 200_000,
    "one word": "a" * 200_000,
    "apostrophes": "a'" * 100_000,
    "full stops": "." * 200_000,
    "list items": "- \n" * 66_000,
}


@pytest.mark.parametrize("text", PATHOLOGICAL.values(), ids=PATHOLOGICAL)
def test_no_long_text_takes_for_ever(text: str) -> None:  # a pattern that goes back takes minutes, and pytest's timeout ends it
    assert np.isfinite(style(text, text)).all()


def test_white_space_round_an_answer_and_the_shape_of_its_apostrophes_say_nothing() -> None:
    rows = [
        style("Why don't you?", answer) for answer in ("I don't.", "\n I don't. \n", "I don\N{RIGHT SINGLE QUOTATION MARK}t.")
    ]
    assert all(np.array_equal(row, rows[0]) for row in rows)


def test_the_same_text_has_the_same_numbers_whatever_was_read_before() -> None:
    rng = random.Random(5)
    texts = ["".join(rng.choices("aI'm sorry,.!?\n-1 ", k=60)) for _ in range(50)]
    first = [style("Why?", text) for text in texts]
    assert all(np.array_equal(style("Why?", text), row) for text, row in reversed(list(zip(texts, first, strict=True))))
