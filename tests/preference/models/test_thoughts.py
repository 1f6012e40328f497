from typing import Any

import pytest

from preference.models.thoughts import split_thought


@pytest.mark.parametrize(
    ("text", "is_begun", "thought", "answer"),
    [
        ("Yes.", False, "", "Yes."),
        ("<think>\nIs it?\n</think>\n\nYes.", False, "Is it?", "Yes."),
        (" \n<think>Is it?</think>Yes.", None, "Is it?", "Yes."),
        ("<think>\n\n</think>\n\nYes.", False, "", "Yes."),
        ("<think>One.</think>\n<think>Two.</think>\nYes.", False, "One.\n\nTwo.", "Yes."),
        ("<think>Is it? Let me", False, "Is it? Let me", ""),
        ("<think>Is it?</think>", False, "Is it?", ""),
        ("Is it?\n</think>\n\nYes.", True, "Is it?", "Yes."),
        ("<think>Is it?</think>Yes.", True, "Is it?", "Yes."),
        ("Is it? Let me", True, "Is it? Let me", ""),
    ],
)
def test_what_is_thought_is_told_from_the_answer(text: str, is_begun: Any, thought: str, answer: str) -> None:
    assert split_thought(text, is_begun=is_begun) == (thought, answer)


def test_if_it_is_not_known_whether_the_prompt_opened_the_thought_a_closing_line_says_so() -> None:
    assert split_thought("Is it?\n</think>\n\nYes.", is_begun=None) == ("Is it?", "Yes.")
    assert split_thought("</think>\nYes.", is_begun=None) == ("", "Yes.")


@pytest.mark.parametrize(
    "text",
    [
        "A model ends its thought with `</think>`, and begins it with `<think>`.",
        "Write it so:\n<think>\nHm.\n</think>\nand go on.",
        " The end is </think>.\n\n",
    ],
)
@pytest.mark.parametrize("is_begun", [False, None])
def test_an_answer_that_speaks_of_the_marks_stays_whole(text: str, is_begun: Any) -> None:
    assert split_thought(text, is_begun=is_begun) == ("", text)
