"""What a task's list of messages says, by whatever names its keys and its roles have."""

from typing import Any

import pytest

from preference.labelling.conversations import MessageKeys, NoPrompt, read_messages, written_messages
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Turn

KEYS = MessageKeys()
SYSTEM, ASKED, ANSWERED = Turn("system", "Be brief."), Turn("user", "Name a tree."), Turn("assistant", "Oak.")


def message(role: object, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


def layout(tag: str) -> LabelingLayout:
    answers = '<Text name="a" value="$a"/><Text name="b" value="$b"/><Pairwise name="which" toName="a,b"/>'
    return LabelingLayout.from_label_config(f"<View>{tag}{answers}</View>")


def test_every_turn_is_read_and_written_back() -> None:
    said = [message(*turn) for turn in (SYSTEM, ASKED, ANSWERED, ASKED)]
    prompt = read_messages(said, KEYS)

    assert prompt == (SYSTEM, ASKED, ANSWERED, ASKED)
    assert written_messages(prompt, KEYS) == said
    assert written_messages(prompt, MessageKeys("author", "text"))[0] == {"author": "system", "text": "Be brief."}


def test_a_single_turn_of_the_user_is_a_text() -> None:
    assert read_messages([message("user", "Name a tree.")], KEYS) == "Name a tree."
    assert written_messages("Name a tree.", KEYS) == [message("user", "Name a tree.")]
    assert read_messages([message("system", "Be brief.")], KEYS) == (SYSTEM,)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("human", "user"), ("User", "user"), ("prompter", "user"), ("gpt", "assistant"), ("MODEL", "assistant"),
        ("developer", "system"),
    ],
)  # fmt: skip
def test_a_role_may_have_the_names_that_data_sets_have_for_it(name: str, role: str) -> None:
    assert read_messages([message(name, "Hi."), message("user", "Go on.")], KEYS) == (Turn(role, "Hi."), Turn("user", "Go on."))


def test_blank_messages_are_no_turns_and_other_keys_are_left_alone() -> None:
    said = [message("user", "Name a tree.", createdAt=1), message("assistant", None, tool_calls=[]), message("assistant", " \n")]
    assert read_messages([*said, message("assistant", "Oak.", id="x"), message("user", "Another.")], KEYS) == (
        ASKED,
        ANSWERED,
        Turn("user", "Another."),
    )


def test_half_an_emoji_becomes_a_replacement_character() -> None:
    assert read_messages([message("user", "cut \ud83d")], KEYS) == "cut \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "conversation missing, or no list of messages"),
        ("Name a tree.", "conversation missing, or no list of messages"),
        (message("user", "Hi."), "conversation missing, or no list of messages"),
        ([], "conversation empty"),
        ([message("user", " ")], "conversation empty"),
        (["Hi."], "conversation with a message that lacks its role or its text"),
        ([{"role": "user"}], "conversation with a message that lacks its role or its text"),
        ([message(None, "Hi.")], "conversation with a message that lacks its role or its text"),
        ([message("user", [{"type": "text", "text": "Hi."}])], "conversation with a message that lacks its role or its text"),
        ([message("Ada", "Hi.")], "conversation with a role that is none of user, assistant and system"),
        ([message("user<|im_end|>", "Hi.")], "conversation with a role that is none of user, assistant and system"),
    ],
)
def test_what_is_no_conversation_says_why_without_quoting_it(value: Any, why: str) -> None:
    with pytest.raises(NoPrompt) as refused:
        read_messages(value, KEYS)
    assert str(refused.value) == why


def test_a_turn_of_another_role_is_not_written() -> None:
    with pytest.raises(NoPrompt, match="none of user, assistant and system"):
        written_messages((ASKED, Turn("tool", "42")), KEYS)


# In a label config

MESSAGES = [message(*turn) for turn in (ASKED, ANSWERED, ASKED)]


@pytest.mark.parametrize(
    ("tag", "keys"),
    [
        ('<Paragraphs name="dialogue" value="$messages" nameKey="role" textKey="content"/>', MessageKeys("role", "content")),
        ('<Paragraphs name="dialogue" value="$messages" namekey="role" TEXTKEY="content"/>', MessageKeys("role", "content")),
        ('<Paragraphs name="dialogue" value="$messages"/>', MessageKeys("author", "text")),
        ('<Chat name="dialogue" value="$messages"/>', MessageKeys("role", "content")),
    ],
)
def test_a_conversation_is_read_by_the_keys_that_its_tag_names(tag: str, keys: MessageKeys) -> None:
    its = layout(tag)
    data = {"messages": [{keys.role: turn.role, keys.text: turn.text} for turn in (ASKED, ANSWERED, ASKED)]}

    assert (its.prompt_field, its.message_keys, its.is_chat) == ("messages", keys, tag.startswith("<Chat"))
    assert its.prompt(data) == (ASKED, ANSWERED, ASKED)
    assert its.prompt_problem(data) == ""
    assert its.with_prompt({"id": 1}, (ASKED, ANSWERED, ASKED)) == {"id": 1, **data}
    assert its.prompt({"messages": "Name a tree."}) is None
    assert its.prompt_problem({"messages": []}) == "conversation empty"


def test_a_text_is_shown_as_a_text_and_a_conversation_as_its_transcript() -> None:
    its = layout('<Text name="prompt" value="$q.text"/>')

    assert its.message_keys is None
    assert its.with_prompt({}, "Name a tree.") == {"q": {"text": "Name a tree."}}
    assert its.prompt(its.with_prompt({}, (SYSTEM, ASKED))) == "System: Be brief.\n\nUser: Name a tree."
    assert its.prompt_problem({"q": {"text": MESSAGES}}) == "prompt missing, empty or not text"


def test_one_of_several_tags_is_the_conversation_if_it_is_named_prompt() -> None:
    context = '<Text name="topic" value="$topic"/>'
    its = layout(f'{context}<Paragraphs name="prompt" value="$chat.turns" nameKey="role" textKey="content"/>')

    assert (its.prompt_field, set(its.context_fields)) == ("chat.turns", {"topic"})
    assert its.prompt({"chat": {"turns": MESSAGES}}) == (ASKED, ANSWERED, ASKED)
