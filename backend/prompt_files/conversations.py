"""Conversations as public files hold them: lists of messages, or one text with marks; read as turns."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from preference.errors import PromptFileError
from preference.labelling.conversations import role_of
from preference.labelling.prompts import Turn, transcript

_HH = re.compile(r"(?:\A|\n\n)(Human|Assistant):")  # Anthropic/hh-rlhf
_HELPSTEER = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")  # nvidia/HelpSteer2; its first turn has no mark


def turns(value: Any, *, role: str) -> list[Turn]:
    """The turns of a list of messages, or of a text with marks; a text without is one turn of that role. Blank ones are left out.

    Raises:
        PromptFileError: it is neither, or a message holds something else than text.
    """
    if isinstance(value, str):
        return _without_blank(_marked(value) or [Turn(role, value)])
    if not isinstance(value, list):
        raise PromptFileError("a conversation should be a text, or a list of messages with a role and a content.")
    return _without_blank(map(_turn, value))


def answer_text(conversation: Sequence[Turn]) -> str:
    """The answer that these turns are: a transcript, if they are more than one of the assistant."""
    is_text = len(conversation) == 1 and conversation[0].role == "assistant"
    return conversation[0].text if is_text else transcript(tuple(conversation))


def divided(first: Sequence[Turn], second: Sequence[Turn]) -> int:
    """How many turns two conversations have in common before the answers, each of which begins with a turn of the assistant."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    while same and first[same - 1].role == "assistant":
        same -= 1
    return same


def is_conversation(value: Any) -> bool:
    """Whether it is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and ("role" in m or "from" in m) for m in value)


def as_list(value: Any) -> Any:
    """A list, if a text is one in JSON, as in a CSV file; else the value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _turn(message: Any) -> Turn:
    fields = message if isinstance(message, dict) else {}
    role, text = fields.get("role", fields.get("from")), fields.get("content", fields.get("value"))
    if isinstance(text, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in text):
        text = "\n\n".join(part["text"] for part in text)
    if not isinstance(role, str) or not isinstance(text, str):
        raise PromptFileError("a message of a conversation should have a role, and a content that is text.")
    return Turn(role_of(role), text.strip())


def _marked(text: str) -> list[Turn] | None:
    """The turns of a text with marks; None if it has none."""
    lead, *marked = _HH.split(text.strip())
    if marked and not lead and "Assistant" in marked[::2]:
        return list(map(_named, marked[::2], marked[1::2]))
    lead, *marked = _HELPSTEER.split(text)
    return [Turn("user", lead.strip()), *map(_named, marked[::2], marked[1::2])] if marked else None


def _named(role: str, text: str) -> Turn:
    return Turn(role_of(role), text.strip())


def _without_blank(conversation: Iterable[Turn]) -> list[Turn]:
    return [turn for turn in conversation if turn.text.strip()]
