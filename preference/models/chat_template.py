"""What a tokenizer and its chat template make of turns and of texts.

Texts are data: only the tokenizer and its chat template write control tokens. A role marker in a prompt or in an answer, such as
<|im_end|>, is read as the characters that it is; else a text could begin a turn of its own, and an answer speak for the user.
Covered: every special token, and any other added token that the template puts round a turn.
Not covered: a marker that is ordinary text to its template and tokenizer ([INST] for Llama 2, "USER:"), which nothing tells apart
from data; a control token of one character.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.labelling.prompts import Conversation, Turn, messages, to_be_continued, transcript

CUT = "\ud800"  # half of a character, so it is in no text that a tokenizer takes
Options = Mapping[str, Any]
NO_OPTIONS: Options = MappingProxyType({})


@dataclass(frozen=True)
class _ControlTokens:
    """What a tokenizer would read as control tokens, wherever it stands."""

    strings: tuple[str, ...]
    first: tuple[str, ...]  # characters of these
    normalized: Callable[[str], str] | None  # if it looks for some of them in the text that it normalized


_CONTROL_TOKENS: WeakKeyDictionary[PreTrainedTokenizerBase, _ControlTokens] = WeakKeyDictionary()


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with a cut inside each string that the tokenizer would read as a control token; any other text as it is.

    The pieces of a text that is cut become tokens apart from each other. To do it again changes nothing.
    """
    control = _CONTROL_TOKENS.get(tokenizer) or _control_tokens(tokenizer)
    for first in control.first:  # in few texts, and there are dozens of strings
        if first in text:
            text = _cut(text, control.strings)
            break
    if control.normalized is not None:
        pieces = [(piece, _cut(control.normalized(piece), control.strings)) for piece in text.split(CUT)]
        text = CUT.join(cut if CUT in cut else piece for piece, cut in pieces)
    return text


def text_of(
    tokenizer: PreTrainedTokenizerBase, turns: Conversation, options: Options = NO_OPTIONS, *, is_open: bool = True
) -> str:
    """The turns up to where an answer begins, in the first of these forms that the template takes.

    As they are; the system's turns as the beginning of the user's, and neighbours of one role as one turn ("System role not
    supported", "roles must alternate": templates of Gemma, say); one turn of the user that is a transcript. If it is not to be
    open, the last turn is the answer, and the text goes on to where the template closes it.
    """
    if not tokenizer.chat_template:
        return to_be_continued(turns) + "\n\n"
    joined = _joined(turns)
    said, answer = (joined, ()) if is_open else (joined[:-1], joined[-1:])
    for form in (turns, joined, (Turn("user", transcript(said)), *answer))[: 3 if len(said) > 1 else 2]:
        try:
            return str(tokenizer.apply_chat_template(messages(form), tokenize=False, add_generation_prompt=is_open, **options))
        except TemplateError as error:
            refusal = error
    raise ModelError(
        f"The chat template of {tokenizer.name_or_path!r} refuses a user's turn ({refusal}); name a model whose template takes one."
    ) from refusal


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str, *, is_start: bool) -> list[int]:
    """Tokens; a text without a template may be opened by a special token, and is not closed by one."""
    first, *others = text.split(CUT)
    ids: list[int] = tokenizer(first, add_special_tokens=is_start and not tokenizer.chat_template, verbose=False)["input_ids"]
    if not tokenizer.chat_template and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers close every text
    for piece in others:
        ids = ids + _ids_within(tokenizer, piece)
    return ids


def _joined(turns: Conversation) -> Conversation:
    joined: list[Turn] = []
    for role, text in turns:
        side = "user" if role == "system" else role
        if joined and joined[-1].role == side:
            joined[-1] = Turn(side, f"{joined[-1].text}\n\n{text}")
        else:
            joined.append(Turn(side, text))
    return tuple(joined)


def _ids_within(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of what goes on within a text: behind a line break, since some tokenizers open whatever they get with a space."""
    newline, behind = (tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"] for t in ("\n", f"\n{text}"))
    if behind[: len(newline)] != newline:
        behind, newline = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], []
    ids: list[int] = behind[len(newline) :]
    return ids


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> _ControlTokens:
    """Found once for each tokenizer."""
    turns = tuple(Turn(role, "x") for role in ("system", "user", "assistant", "user"))
    template = text_of(tokenizer, turns) if tokenizer.chat_template else ""
    added = [
        token
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content in template and not token.content.isspace())  # Gemma's has line breaks among them
    ]
    strings = {token.content for token in added} | set(tokenizer.all_special_tokens)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    normalized = None
    if any(token.normalized for token in added) and backend is not None and backend.normalizer is not None:
        normalized = backend.normalizer.normalize_str
        strings |= {normalized(token.content) for token in added if token.normalized}
    strings = {string for string in strings if len(string) > 1}
    control = _ControlTokens(tuple(sorted(strings)), tuple({string[0] for string in strings}), normalized)
    _CONTROL_TOKENS[tokenizer] = control
    return control


def _cut(text: str, strings: tuple[str, ...]) -> str:
    for string in strings:
        while string in text:  # again: `replace` passes over those that overlap
            text = text.replace(string, f"{string[0]}{CUT}{string[1:]}")
    return text
