"""The one way a prompt and an answer become tokens, for writing, training and serving alike.

A template or padding that differs between the two is the classic defect of reward models (huggingface/trl#937).

Texts are data: only the tokenizer and its chat template write control tokens. A role marker in a prompt or in an answer, such as
<|im_end|>, is read as the characters that it is; else a text could begin a turn of its own, and an answer speak for the user.
Covered: every special token, and any other added token that the template puts round a turn. What a prompt loses if there is no room for
all of it: a conversation its oldest turns, one whole exchange after another, but never a system's turn before them; then its last
turn, or a text, its head.
Not covered: a marker that is ordinary text to its template and tokenizer ([INST] for Llama 2, "USER:"), which nothing tells apart
from data; a control token of one character.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.labelling.prompts import Conversation, Prompt, Turn, messages, to_be_continued, transcript, turns_of
from preference.models.thoughts import CLOSING, OPENING

ENCODING_VERSION = 2  # part of every feature's key: count up when the tokens of the same text change
_CUT = "\ud800"  # half of a character, so it is in no text that a tokenizer takes
Options = Mapping[str, Any]
_NO_OPTIONS: Options = MappingProxyType({})


@dataclass(frozen=True)
class EncodedAnswer:
    """The tokens of a prompt and its answer, closed by the end-of-sequence token."""

    input_ids: list[int]
    answer_start: int  # input_ids[answer_start:-1] are the answer's tokens
    num_cut: int  # tokens that were cut: the prompt's oldest first, then the answer's tail


@dataclass(frozen=True)
class ThinkingTokens:
    """The tokens round what a model thinks before it answers."""

    opening: int  # -1 if there is none
    closing: int
    is_begun: bool  # whether the chat template opens the thought


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


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, max_tokens: int, system: str = "", options: Options = _NO_OPTIONS
) -> tuple[list[int], int]:
    """(the prompt's tokens up to where an answer begins, how many were cut).

    `system`: the instructions before it, unless it has some of its own. `options`: what the chat template gets beside the turns.
    Nothing that a template puts round its turns is cut.
    """
    turns = _read_as(tokenizer, turns_of(prompt, system=system))
    ids = _prompt_ids(tokenizer, turns, options)
    if len(ids) <= max_tokens:
        return ids, 0
    later = _without_oldest(turns)
    place = bisect_left(later, True, key=lambda kept: len(_prompt_ids(tokenizer, kept, options)) <= max_tokens)
    if place < len(later):
        kept = _prompt_ids(tokenizer, later[place], options)
        return kept, len(ids) - len(kept)
    last = later[-1] if later else turns
    num_dropped = len(ids) - len(_prompt_ids(tokenizer, last, options))
    kept, num_cut = _without_head(tokenizer, last, max_tokens, options)
    return kept, num_dropped + num_cut


def marked_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What the chat template makes of a prompt, up to where an answer begins; without a template, the text itself."""
    return _text_of(tokenizer, _read_as(tokenizer, turns_of(prompt))).replace(_CUT, "")


def encode_answer(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str, *, max_tokens: int) -> EncodedAnswer:
    """At most `max_tokens` tokens; the answer is kept before the prompt, of which at least a quarter stays."""
    prompt_ids, num_cut = encode_prompt(tokenizer, prompt, max_tokens=max_tokens)
    answer_ids = answer_tokens(tokenizer, answer)
    room = max_tokens - 1 - min(len(prompt_ids), max_tokens // 4)
    num_answer_cut = max(0, len(answer_ids) - room)
    answer_ids = answer_ids[:room]
    room = max_tokens - 1 - len(answer_ids)
    if isinstance(prompt, str):  # as ever: versions that are served were trained so
        kept = prompt_ids[-room:]
        num_cut += len(prompt_ids) - len(kept)
    else:
        kept, num_cut = encode_prompt(tokenizer, prompt, max_tokens=room)
    return EncodedAnswer([*kept, *answer_ids, tokenizer.eos_token_id], len(kept), num_cut + num_answer_cut)


def answer_tokens(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """The answer's own tokens, all of them, behind a prompt."""
    return _ids(tokenizer, as_text(tokenizer, answer.strip()), is_start=False)


def thinking_tokens(tokenizer: PreTrainedTokenizerBase, *, options: Options = _NO_OPTIONS) -> ThinkingTokens | None:
    """The tokens round a thought; None if the tokenizer has none for its end."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    if CLOSING not in added:
        return None
    text = _text_of(tokenizer, turns_of("x"), options) if tokenizer.chat_template else ""
    return ThinkingTokens(added.get(OPENING, -1), added[CLOSING], is_begun=text.rfind(OPENING) > text.rfind(CLOSING))


def _read_as(tokenizer: PreTrainedTokenizerBase, turns: Conversation) -> Conversation:
    """The turns with their texts as text; without a template, without white space at their ends."""
    texts = [as_text(tokenizer, text) for _, text in turns]
    if not tokenizer.chat_template:
        texts = [text.strip() if turn.role == "system" else text.rstrip() for turn, text in zip(turns, texts, strict=True)]
    return tuple(turn._replace(text=text) for turn, text in zip(turns, texts, strict=True))


def _without_oldest(turns: Conversation) -> list[Conversation]:
    """The conversation without its oldest exchange, without the two oldest, ...: each begins with the user, behind the system's turns."""
    start = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return [turns[:start] + turns[place:] for place in range(start + 1, len(turns)) if turns[place].role == "user"]


def _without_head(
    tokenizer: PreTrainedTokenizerBase, turns: Conversation, max_tokens: int, options: Options
) -> tuple[list[int], int]:
    """(the tokens without the head of the last turn's text, how many these were)."""
    text, body = _text_of(tokenizer, turns, options), turns[-1].text
    body = body if body in text else body.strip()  # some templates strip it
    place = text.rfind(body)
    before, body, after = (text[:place], body, text[place + len(body) :]) if place >= 0 else ("", text, "")
    head, middle, tail = (_ids(tokenizer, part, is_start=part is before) for part in (before, body, after))
    room = max_tokens - len(head) - len(tail)
    if room < max_tokens // 4:  # the frame alone nearly fills it
        ids = _prompt_ids(tokenizer, turns, options)
        return ids[-max_tokens:], len(ids) - max_tokens
    return [*head, *middle[-room:], *tail], max(0, len(middle) - room)


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, turns: Conversation, options: Options) -> list[int]:
    return _ids(tokenizer, _text_of(tokenizer, turns, options), is_start=True)


def _text_of(tokenizer: PreTrainedTokenizerBase, turns: Conversation, options: Options = _NO_OPTIONS) -> str:
    """The turns up to where the answer begins, in the first of these forms that the template takes.

    As they are; the system's turns as the beginning of the user's, and neighbours of one role as one turn ("System role not
    supported", "roles must alternate": templates of Gemma, say); one turn of the user that is a transcript.
    """
    if not tokenizer.chat_template:
        return to_be_continued(turns) + "\n\n"
    joined = _joined(turns)
    for form in (turns, joined, (Turn("user", transcript(joined)),))[: 3 if len(joined) > 1 else 2]:
        try:
            return str(tokenizer.apply_chat_template(messages(form), tokenize=False, add_generation_prompt=True, **options))
        except TemplateError as error:
            refusal = error
    raise ModelError(
        f"The chat template of {tokenizer.name_or_path!r} refuses a user's turn ({refusal}); name a model whose template takes one."
    ) from refusal


def _joined(turns: Conversation) -> Conversation:
    joined: list[Turn] = []
    for role, text in turns:
        side = "user" if role == "system" else role
        if joined and joined[-1].role == side:
            joined[-1] = Turn(side, f"{joined[-1].text}\n\n{text}")
        else:
            joined.append(Turn(side, text))
    return tuple(joined)


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
    turns = tuple(Turn(role, "x") for role in ("system", "user", "assistant", "user"))
    template = _text_of(tokenizer, turns) if tokenizer.chat_template else ""
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
