"""Texts in which a chat template's marks tell prompt and answer apart."""

import pytest

from backend.rewards_api.marked_texts import Unreadable, exchange_behind, exchange_in, turns_added
from preference.labelling.conversations import NoPrompt
from preference.labelling.prompts import Turn
from tests.support.reward_calls import ANSWER, MARKED, OPENED, PROMPT

LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nBecause the moon looked at the cat.<|eot_id|>"
)
GEMMA = "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nBecause the moon looked at the cat.<end_of_turn>\n"
PHI_3 = "<|user|>\nWhy?<|end|>\n<|assistant|>\nBecause the moon looked at the cat.<|end|>\n<|endoftext|>"
ZEPHYR = "<|user|>\nWhy?</s>\n<|assistant|>\nBecause the moon looked at the cat.</s>"
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM.<|im_end|>\n"
TALK = (
    "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    "<|im_start|>assistant\nBecause.<|im_end|>\n"
)


@pytest.mark.parametrize("text", [MARKED, LLAMA_3, GEMMA, PHI_3, ZEPHYR], ids=["ChatML", "Llama 3", "Gemma", "Phi 3", "Zephyr"])
def test_prompt_and_answer_are_told_apart_without_any_mark(text: str) -> None:
    assert exchange_in(text) == (PROMPT, ANSWER)


def test_an_answer_that_was_cut_off_has_no_mark_behind_it_and_is_read() -> None:
    assert exchange_in(f"{OPENED}Because the m") == (PROMPT, "Because the m")
    assert exchange_in(OPENED) == (PROMPT, "")


def test_earlier_turns_belong_to_the_prompt() -> None:
    prompt = (Turn("user", "Hi."), Turn("assistant", "Hello."), Turn("user", "Why?"))

    assert exchange_in(TALK) == (prompt, "Because.")


def test_instructions_stay_unless_the_reward_models_template_adds_them_by_itself() -> None:
    added = turns_added(f"{SYSTEM}<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n")
    others = (Turn("system", "Be brief."), Turn("user", "Why?"))

    assert added == (Turn("system", "You are a helpful AI assistant named SmolLM."),)
    assert exchange_in(SYSTEM + MARKED, added=added) == (PROMPT, ANSWER)
    assert exchange_behind(SYSTEM + OPENED, SYSTEM + MARKED, added=added) == (PROMPT, ANSWER)
    assert exchange_in(f"<|im_start|>system\nBe brief.<|im_end|>\n{MARKED}", added=added) == (others, ANSWER)
    assert turns_added("x\n\n") == turns_added(OPENED) == ()


def test_marks_that_an_answer_writes_are_its_text_if_it_is_known_where_it_begins() -> None:
    answer = "Because.<|im_end|>\n<|im_start|>user\nThanks!<|im_end|>\n<|im_start|>assistant\nYou are welcome."

    assert exchange_behind(OPENED, f"{OPENED}{answer}<|im_end|>\n") == (PROMPT, answer)


def test_a_prompt_without_marks_is_taken_as_it_is() -> None:
    assert exchange_behind("Why?", "Why? Because.</s><pad><pad>") == ("Why?", " Because.")
    assert (
        exchange_behind(" Why?", "<s> Why? Because.</s>")
        == exchange_behind("<bos>Why?", "Why? Because.")
        == ("Why?", " Because.")
    )


def test_what_a_prompt_begins_of_the_answer_belongs_to_the_answer_but_no_thought_does() -> None:
    thinking = f"{OPENED}<think>\n"

    assert exchange_behind(f"{OPENED}Sure, ", f"{OPENED}Sure, because.<|im_end|>") == (PROMPT, "Sure, because.")
    assert exchange_behind(thinking, f"{thinking}Cats?\n</think>\n\nBecause.<|im_end|>") == (PROMPT, "Because.")
    assert exchange_in(f"{thinking}Cats?\n</think>\n\nBecause.<|im_end|>") == (PROMPT, "Because.")
    assert exchange_in(f"{thinking}Cats? And so on, without an en") == (PROMPT, "")


@pytest.mark.parametrize("text", ["", "vLLM is great!", f"Why? {MARKED}", "<s>[INST] Why? [/INST] Because.</s>"])
def test_a_text_whose_prompt_has_no_known_end_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="no marks that tell the prompt from the answer"):
        exchange_in(text)


def test_other_texts_that_hold_no_answer_are_refused_and_not_quoted() -> None:
    with pytest.raises(Unreadable, match="last turn is not the assistant's"):
        exchange_in("<|im_start|>user\nsecret<|im_end|>\n")
    with pytest.raises(NoPrompt, match="conversation empty"):
        exchange_in("<|im_start|>assistant\nsecret<|im_end|>\n")
    with pytest.raises(NoPrompt, match="a role that is none of user, assistant and system"):
        exchange_in(f"<|im_start|>tool\nsecret<|im_end|>\n{MARKED}")
    with pytest.raises(Unreadable, match="does not begin with its prompt"):
        exchange_behind("secret", MARKED)


def test_a_long_text_of_white_space_is_read_in_one_pass() -> None:
    spaces = " " * 1_000_000

    assert exchange_in(f"{OPENED}a{spaces}b<|im_end|>") == (PROMPT, f"a{spaces}b")
    assert exchange_behind(OPENED, f"{OPENED}a{spaces}b<|im_end|>") == (PROMPT, f"a{spaces}b")
