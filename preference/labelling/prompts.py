"""What a prompt is, a text or a conversation that waits for its next turn; and which prompts are one: twins that differ only in case,
white space, Unicode form or closing punctuation.

A conversation of one turn, the user's, is that turn's text.
"""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

_CLOSING = ".,:;!?…。、؟؛،।॥"  # closes a sentence or an instruction; not + or #, which tell C from C++ and C#


class Turn(NamedTuple):
    """What one side said."""

    role: str  # of a prompt: user, assistant or system
    text: str


Conversation = tuple[Turn, ...]
Prompt = str | Conversation


def as_prompt(turns: Iterable[Turn]) -> Prompt:
    """The prompt of these turns."""
    conversation = tuple(turns)
    is_text = len(conversation) == 1 and conversation[0].role == "user"
    return conversation[0].text if is_text else conversation


def turns_of(prompt: Prompt, *, system: str = "") -> Conversation:
    """The turns of a prompt, behind a system's turn that says `system`, if it begins with none of its own."""
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt
    return (Turn("system", system), *turns) if system and turns[0].role != "system" else turns


def messages(turns: Conversation) -> list[dict[str, str]]:
    """The turns as chat templates, OpenAI's API and TRL take them."""
    return [{"role": role, "content": text} for role, text in turns]


def transcript(prompt: Prompt) -> str:
    """One text that keeps every turn; a text is its own."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{role[:1].upper()}{role[1:]}: {text}" for role, text in prompt)


def to_be_continued(turns: Conversation) -> str:
    """One text for a model that knows no turns, up to where the answer begins."""
    if [turn.role for turn in turns] in (["user"], ["system", "user"]):  # nobody else has spoken yet
        return "\n\n".join(turn.text for turn in turns)
    return f"{transcript(turns)}\n\nAssistant:"


def opening(prompt: Prompt) -> str:
    """The text, or of a conversation its first user's turn: prompts that share it are never on both sides of a split."""
    return next((text for role, text in turns_of(prompt) if role == "user"), transcript(prompt))


def normalised(prompt: Prompt) -> str:
    """What a prompt's twins have in common. Folds, holdout, learning curve, comparisons and duplicates at import go by it.

    Unicode's form is NFKC: full-width letters and ligatures are their usual ones. A prompt of punctuation alone keeps it.
    """
    if not isinstance(prompt, str):
        return "\0".join(f"{role}\0{normalised(text)}" for role, text in prompt)
    text = unicodedata.normalize("NFKC", prompt).casefold()
    words = " ".join(unicodedata.normalize("NFKC", text).split())
    return words.rstrip(f"{_CLOSING} ") or words
