"""What is one prompt, and what is another."""

import pytest

from preference.labelling.prompts import Turn, as_prompt, messages, normalised, opening, to_be_continued, transcript, turns_of


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


# Conversations

SYSTEM, ASKED, ANSWERED, MORE = (
    Turn("system", "Be brief."), Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another one."),
)  # fmt: skip


def test_a_conversation_of_the_users_turn_alone_is_its_text() -> None:
    assert as_prompt([ASKED]) == "Name a tree."
    assert as_prompt([SYSTEM, ASKED]) == (SYSTEM, ASKED)
    assert as_prompt([ANSWERED]) == (ANSWERED,)
    assert turns_of("Name a tree.") == (ASKED,)


def test_a_transcript_keeps_every_turn() -> None:
    assert transcript((SYSTEM, ASKED, ANSWERED, MORE)) == (
        "System: Be brief.\n\nUser: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one."
    )
    assert transcript("Name a tree.") == "Name a tree."


def test_a_conversation_keeps_its_own_system_prompt_and_else_gets_the_general_one() -> None:
    assert messages(turns_of((SYSTEM, ASKED), system="Be kind.")) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a tree."},
    ]
    assert turns_of("Name a tree.", system="Be kind.") == (Turn("system", "Be kind."), ASKED)


def test_a_model_that_knows_no_turns_reads_who_said_what_if_there_is_more_than_a_prompt() -> None:
    assert to_be_continued((ASKED,)) == "Name a tree."
    assert to_be_continued((SYSTEM, ASKED)) == "Be brief.\n\nName a tree."
    assert to_be_continued((ASKED, ANSWERED, MORE)) == (
        "User: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one.\n\nAssistant:"
    )


def test_conversations_are_one_prompt_if_every_turn_is_and_begin_alike_by_their_first_question() -> None:
    conversation, twin = (ASKED, ANSWERED, MORE), (Turn("user", "name a TREE"), Turn("assistant", "oak"), MORE)
    other = (ASKED, Turn("assistant", "Elm."), MORE)

    assert normalised(conversation) == normalised(twin) != normalised(other)
    assert normalised((ASKED, ANSWERED)) != normalised((ASKED, Turn("user", "Oak.")))
    assert {opening(prompt) for prompt in (conversation, other, (SYSTEM, *other), "Name a tree.")} == {"Name a tree."}
    assert opening((SYSTEM,)) == "System: Be brief."
