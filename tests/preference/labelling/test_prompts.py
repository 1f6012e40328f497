"""What is one prompt, and what is another."""

import pytest

from preference.labelling.prompts import normalised


@pytest.mark.parametrize(
    "twin",
    [
        "Why is café Zoë closed?",
        "  WHY is\tcafé Zoë\n closed? ",
        "Why is café Zoë closed",
        "Why is café Zoë closed ?",
        "Why is café Zoë closed?!...",
        "Why is café Zoë closed…",
        "Why is cafe\N{COMBINING ACUTE ACCENT} Zoe\N{COMBINING DIAERESIS} closed?",
        "Why is café Zoë closed\N{FULLWIDTH QUESTION MARK}",
        "Why\N{IDEOGRAPHIC SPACE}is café\N{NO-BREAK SPACE}Zoë closed\N{IDEOGRAPHIC FULL STOP}",
        "\N{FULLWIDTH LATIN CAPITAL LETTER W}hy is café Zoë closed:",
    ],
)
def test_case_white_space_unicode_form_and_closing_punctuation_make_no_new_prompt(twin: str) -> None:
    assert normalised(twin) == "why is café zoë closed"


def test_twins_in_capitals_are_found_in_every_script() -> None:
    for text in ("straße", "ﬁnd", "ΐ", "\N{LATIN SMALL LETTER LONG S}ecret", "ΣΊΣΥΦΟΣ"):
        assert normalised(text.upper()) == normalised(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write it in C", "Write it in C++"),
        ("Write it in C", "Write it in C#."),
        ("What is 3.5?", "What is 35?"),
        ("Is it (so)", "Is it so"),
        ("Let's eat, grandma", "Let's eat grandma"),
        ("Why is it café?", "Why is it cafe?"),
        ("?", "!"),
    ],
)
def test_what_stands_within_a_prompt_and_symbols_at_its_end_tell_prompts_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)
