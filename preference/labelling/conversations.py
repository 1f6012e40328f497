"""A prompt in a task's data: a text, or a conversation, which is a list of messages, as Label Studio's <Paragraphs> and <Chat> show it.

    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a tree."}]

Which keys hold the role and the text, the tag says. The roles are ours, whatever names the data have for them: a chat template writes
them beside its control tokens.

Covered: blank messages, which are no turns.
Not covered: a message that is more than a text (a picture, a call of a tool); people by their own names, of whom nobody can tell
who is to be answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preference.labelling.prompts import Prompt, Turn, as_prompt, turns_of
from preference.labelling.task_data import readable, shown_text

_ROLES = {
    "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip


class NoPrompt(ValueError):
    """Why what lies there is no prompt."""


@dataclass(frozen=True)
class MessageKeys:
    """Where a message has its role and its text."""

    role: str = "role"
    text: str = "content"


def role_of(name: str) -> str:
    """The role that data sets call so; any other name as it is, in small letters."""
    return _ROLES.get(name.lower(), name.lower())


def read_prompt(value: Any, keys: MessageKeys | None) -> Prompt:
    """The prompt that lies in a field: the text that is shown, or with `keys` the conversation.

    Raises:
        NoPrompt: there is none; the reason names neither texts nor names.
    """
    if keys is not None:
        return read_messages(value, keys)
    if (text := readable(shown_text(value))) is None:
        raise NoPrompt("prompt missing, empty or not text")
    return text


def read_messages(value: Any, keys: MessageKeys) -> Prompt:
    """The conversation in a list of messages.

    Raises:
        NoPrompt: it is none; the reason names neither texts nor names.
    """
    if not isinstance(value, list):
        raise NoPrompt("conversation missing, or no list of messages")
    turns = [_turn(message, keys) for message in value]
    kept = [turn for turn in turns if turn is not None]
    if not kept:
        raise NoPrompt("conversation empty")
    return as_prompt(kept)


def written_messages(prompt: Prompt, keys: MessageKeys) -> list[dict[str, str]]:
    """The list of messages that says this.

    Raises:
        NoPrompt: a turn is of another role than ours.
    """
    turns = turns_of(prompt)
    if any(role not in _ROLES.values() for role, _ in turns):
        raise NoPrompt(_STRANGER)
    return [{keys.role: role, keys.text: text} for role, text in turns]


_STRANGER = "conversation with a role that is none of user, assistant and system"


def _turn(message: Any, keys: MessageKeys) -> Turn | None:
    fields: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
    name, held = fields.get(keys.role), fields.get(keys.text)
    if held is None and keys.text in fields:
        return None  # of an assistant that only called a tool
    if not isinstance(name, str) or not isinstance(held, str):
        raise NoPrompt("conversation with a message that lacks its role or its text")
    if role_of(name) not in _ROLES.values():
        raise NoPrompt(_STRANGER)
    text = readable(held)
    return None if text is None else Turn(role_of(name), text)
