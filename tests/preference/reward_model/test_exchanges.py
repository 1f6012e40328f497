"""Prompts and answers as other programs have them."""

from typing import Any

import pytest

from preference.labelling.conversations import NoPrompt
from preference.labelling.prompts import Turn
from preference.reward_model.exchanges import answer_of, exchange_of, prompt_of

WHY = {"role": "user", "content": "Why?"}
BECAUSE = {"role": "assistant", "content": "Because."}


def test_a_text_and_a_conversation_of_one_turn_are_one_prompt() -> None:
    assert prompt_of("Why?") == prompt_of([WHY]) == "Why?"
    assert prompt_of([WHY, BECAUSE, {"role": "human", "content": "And?"}]) == (
        Turn("user", "Why?"), Turn("assistant", "Because."), Turn("user", "And?")
    )  # fmt: skip


def test_the_parts_of_a_message_are_one_text() -> None:
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]

    assert prompt_of([{"role": "user", "content": parts}]) == "Why?"
    assert exchange_of([WHY, {"role": "assistant", "content": parts}]) == ("Why?", "Why?")


def test_an_answer_is_read_without_its_thought_and_may_be_empty() -> None:
    assert answer_of("<think>Cats?</think>\n\nBecause.") == answer_of([BECAUSE]) == "Because."
    assert answer_of("") == answer_of(" \n") == answer_of("<think>Cats?") == ""
    assert answer_of([{"role": "assistant", "content": None}]) == ""


def test_half_an_emoji_is_made_readable() -> None:
    assert answer_of("a\ud83d") == prompt_of("a\ud83d") == "a\ufffd"


@pytest.mark.parametrize(
    ("call", "given", "reason"),
    [
        (prompt_of, " ", "a prompt is empty"),
        (prompt_of, [], "conversation empty"),
        (prompt_of, [{"role": "user", "content": " "}], "conversation empty"),
        (prompt_of, [{"role": "user", "content": [{"type": "image_url"}]}], "lacks its role or its text"),
        (prompt_of, [{"content": "secret"}], "lacks its role or its text"),
        (answer_of, [BECAUSE, BECAUSE], "and not of one"),
        (answer_of, [WHY], "not the assistant's"),
        (exchange_of, [], "conversation empty"),
        (exchange_of, [BECAUSE], "conversation empty"),
        (exchange_of, [BECAUSE, WHY], "not the assistant's"),
    ],
)
def test_what_is_none_is_refused(call: Any, given: Any, reason: str) -> None:
    with pytest.raises(NoPrompt, match=reason):
        call(given)
