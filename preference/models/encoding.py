"""The one way a prompt and an answer become tokens, for writing, training and serving alike.

A template or padding that differs between the two is the classic defect of reward models (huggingface/trl#937).

Texts are data: only the tokenizer and its chat template write control tokens. A role marker in a prompt or in an answer, such as
<|im_end|>, is read as the characters that it is; else a text could begin a turn of its own, and an answer speak for the user.
Covered: every special token, and any other added token that the template puts round a prompt.
Not covered: a marker that is ordinary text to its template and tokenizer ([INST] for Llama 2, "USER:"), which nothing tells apart
from data; a control token of one character.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError

ENCODING_VERSION = 2  # part of every feature's key: count up when the tokens of the same text change
_CUT = "\ud800"  # half of a character, so it is in no text that a tokenizer takes


@dataclass(frozen=True)
class EncodedAnswer:
    """The tokens of a prompt and its answer, closed by the end-of-sequence token."""

    input_ids: list[int]
    answer_start: int  # input_ids[answer_start:-1] are the answer's tokens
    num_cut: int  # tokens that were cut: the prompt's head first, then the answer's tail


@dataclass(frozen=True)
class _ControlTokens:
    """What a tokenizer would read as control tokens, wherever it stands."""

    strings: tuple[str, ...]
    normalized: Callable[[str], str] | None  # if it looks for some of them in the text that it normalized


_CONTROL_TOKENS: WeakKeyDictionary[PreTrainedTokenizerBase, _ControlTokens] = WeakKeyDictionary()


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with a cut inside each string that the tokenizer would read as a control token; any other text as it is.

    The pieces of a text that is cut become tokens apart from each other. To do it again changes nothing.
    """
    control = _CONTROL_TOKENS.get(tokenizer) or _control_tokens(tokenizer)
    text = _cut(text, control.strings)
    if control.normalized is not None:
        pieces = [(piece, _cut(control.normalized(piece), control.strings)) for piece in text.split(_CUT)]
        text = _CUT.join(cut if _CUT in cut else piece for piece, cut in pieces)
    return text


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, max_tokens: int, system: str = "") -> tuple[list[int], int]:
    """(the prompt's tokens up to where an answer begins, how many were cut at its head).

    `system`: the instructions before it. Only the prompt itself is cut, not what a template or `system` put round it.
    """
    before, body, after = _framed(tokenizer, as_text(tokenizer, prompt), as_text(tokenizer, system))
    ids = _ids(tokenizer, before + body + after, is_start=True)
    num_cut = max(0, len(ids) - max_tokens)
    if num_cut == 0:
        return ids, 0
    head, middle, tail = (_ids(tokenizer, text, is_start=text is before) for text in (before, body, after))
    room = max_tokens - len(head) - len(tail)
    if room < max_tokens // 4:  # the frame alone nearly fills it
        return ids[-max_tokens:], num_cut
    return [*head, *middle[-room:], *tail], max(0, len(middle) - room)


def encode_answer(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, *, max_tokens: int) -> EncodedAnswer:
    """At most `max_tokens` tokens; the answer is kept before the prompt, of which at least a quarter stays."""
    prompt_ids, num_cut = encode_prompt(tokenizer, prompt, max_tokens=max_tokens)
    answer_ids = _ids(tokenizer, as_text(tokenizer, answer.strip()), is_start=False)
    room = max_tokens - 1 - min(len(prompt_ids), max_tokens // 4)
    num_cut += max(0, len(answer_ids) - room)
    answer_ids = answer_ids[:room]
    kept = prompt_ids[-(max_tokens - 1 - len(answer_ids)) :]
    num_cut += len(prompt_ids) - len(kept)
    return EncodedAnswer([*kept, *answer_ids, tokenizer.eos_token_id], len(kept), num_cut)


def _framed(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str) -> tuple[str, str, str]:
    """What stands before the prompt, the prompt, and what stands behind it."""
    if not tokenizer.chat_template:
        return (system.strip() + "\n\n" if system else ""), prompt.rstrip(), "\n\n"
    text = _chat(tokenizer, prompt, system)
    body = prompt if prompt in text else prompt.strip()  # some templates strip it
    place = text.rfind(body)
    return (text[:place], body, text[place + len(body) :]) if place >= 0 else ("", text, "")


def _chat(tokenizer: PreTrainedTokenizerBase, prompt: str, system: str) -> str:
    """The prompt as a user's turn, behind a system's turn if the template knows one, up to where the answer begins."""
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": prompt})
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        if system:  # "System role not supported": a template of Gemma, say
            return _chat(tokenizer, f"{system}\n\n{prompt}", "")
        raise ModelError(
            f"The chat template of {tokenizer.name_or_path!r} refuses a user's turn ({error}); name a model whose template takes one."
        ) from error


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, is_start: bool) -> list[int]:
    """Tokens; a text without a template may be opened by a special token, and is not closed by one."""
    first, *others = text.split(_CUT)
    ids: list[int] = tokenizer(first, add_special_tokens=is_start and not tokenizer.chat_template, verbose=False)["input_ids"]
    if not tokenizer.chat_template and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers close every text
    for piece in others:
        ids = ids + _ids_within(tokenizer, piece)
    return ids


def _ids_within(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of what goes on within a text: behind a line break, since some tokenizers open whatever they get with a space."""
    newline, behind = (tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"] for t in ("\n", f"\n{text}"))
    if behind[: len(newline)] != newline:
        behind, newline = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], []
    ids: list[int] = behind[len(newline) :]
    return ids


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> _ControlTokens:
    """Found once for each tokenizer."""
    template = _chat(tokenizer, "x", "x") if tokenizer.chat_template else ""
    found = [
        token
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content in template and not token.content.isspace())  # Gemma's has line breaks among them
    ]
    strings = {token.content for token in found} | set(tokenizer.all_special_tokens)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    normalized = None
    if any(token.normalized for token in found) and backend is not None and backend.normalizer is not None:
        normalized = backend.normalizer.normalize_str
        strings |= {normalized(token.content) for token in found if token.normalized}
    control = _ControlTokens(tuple(sorted(string for string in strings if len(string) > 1)), normalized)
    _CONTROL_TOKENS[tokenizer] = control
    return control


def _cut(text: str, strings: tuple[str, ...]) -> str:
    for string in strings:
        while string in text:  # again: `replace` passes over those that overlap
            text = text.replace(string, f"{string[0]}{_CUT}{string[1:]}")
    return text
