"""The one way a prompt and an answer become tokens, for writing, training and serving alike.

A template or padding that differs between the two is the classic defect of reward models (huggingface/trl#937).

Texts are data (chat_template.py).
Covered: what a prompt loses if there is no room for all of it: a conversation its oldest turns, one whole exchange after another, but
never a system's turn before them; then its last turn, or a text, its head.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from preference.labelling.prompts import Conversation, Prompt, Turn, turns_of
from preference.models.chat_template import CUT, NO_OPTIONS, Options, as_text, ids_of, text_of
from preference.models.thoughts import CLOSING, OPENING

# What closes an answer: the tokenizer's end-of-sequence token, or the chat template, which then writes the whole conversation.
Closing = Literal["eos", "template"]
ENCODING_VERSION = 2  # part of every feature's key: count up when the tokens of the same text change


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


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, *, max_tokens: int, system: str = "", options: Options = NO_OPTIONS,
    answer_prefix: str = "",
) -> tuple[list[int], int]:  # fmt: skip
    """(the prompt's tokens up to where an answer begins, how many were cut).

    `system`: the instructions before it, unless it has some of its own. `options`: what the chat template gets beside the turns.
    `answer_prefix`: what the answer is to go on from; it stands at the end of the tokens. Nothing that a template puts round its
    turns is cut.
    """
    begun = ids_of(tokenizer, as_text(tokenizer, answer_prefix), is_start=False) if answer_prefix else []
    turns = _read_as(tokenizer, turns_of(prompt, system=system))
    ids, num_cut = _fitting(tokenizer, turns, max_tokens - len(begun), options)
    return [*ids, *begun], num_cut


def marked_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What the chat template makes of a prompt, up to where an answer begins; without a template, the text itself."""
    return text_of(tokenizer, _read_as(tokenizer, turns_of(prompt))).replace(CUT, "")


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


def encode_closed(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str, *, max_tokens: int, closing: Closing
) -> tuple[list[int], int]:
    """(the tokens of a prompt and its answer, how many were cut)."""
    if closing == "template":
        return encode_exchange(tokenizer, prompt, answer, max_tokens=max_tokens)
    encoded = encode_answer(tokenizer, prompt, answer, max_tokens=max_tokens)
    return encoded.input_ids, encoded.num_cut


def encode_exchange(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str, *, max_tokens: int) -> tuple[list[int], int]:
    """(the tokens of a prompt and its answer as the chat template writes them, up to where it closes the answer; how many were cut).

    So the reward models of the field are trained and asked: `tokenizer.apply_chat_template(conversation)`, to which nothing is
    added (https://huggingface.co/Skywork/Skywork-Reward-V2-Llama-3.1-8B). The tokenizer must have a chat template.
    """
    turns, reply = _read_as(tokenizer, turns_of(prompt)), _read_as(tokenizer, (Turn("assistant", answer),))
    ids = _exchange_ids(tokenizer, turns + reply)
    if len(ids) <= max_tokens:
        return ids, 0
    later = _without_oldest(turns)
    place = bisect_left(later, True, key=lambda kept: len(_exchange_ids(tokenizer, kept + reply)) <= max_tokens)
    kept = later[place] if place < len(later) else (later or [turns])[-1]
    fitting = _exchange_ids(tokenizer, kept + reply)
    if len(fitting) > max_tokens:
        fitting = _exchange_cut(tokenizer, kept + reply, max_tokens)
    return fitting, max(0, len(ids) - len(fitting))


def answer_tokens(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """The answer's own tokens, all of them, behind a prompt."""
    return ids_of(tokenizer, as_text(tokenizer, answer.strip()), is_start=False)


def thinking_tokens(tokenizer: PreTrainedTokenizerBase, *, options: Options = NO_OPTIONS) -> ThinkingTokens | None:
    """The tokens round a thought; None if the tokenizer has none for its end."""
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    if CLOSING not in added:
        return None
    text = text_of(tokenizer, turns_of("x"), options) if tokenizer.chat_template else ""
    return ThinkingTokens(added.get(OPENING, -1), added[CLOSING], is_begun=text.rfind(OPENING) > text.rfind(CLOSING))


def _read_as(tokenizer: PreTrainedTokenizerBase, turns: Conversation) -> Conversation:
    """The turns with their texts as text; without a template, without white space at their ends."""
    texts = [as_text(tokenizer, text) for _, text in turns]
    if not tokenizer.chat_template:
        texts = [text.strip() if turn.role == "system" else text.rstrip() for turn, text in zip(turns, texts, strict=True)]
    return tuple(turn._replace(text=text) for turn, text in zip(turns, texts, strict=True))


def _fitting(tokenizer: PreTrainedTokenizerBase, turns: Conversation, max_tokens: int, options: Options) -> tuple[list[int], int]:
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


def _without_oldest(turns: Conversation) -> list[Conversation]:
    """The conversation without its oldest exchange, without the two oldest, ...: each begins with the user, behind the system's turns."""
    start = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return [turns[:start] + turns[place:] for place in range(start + 1, len(turns)) if turns[place].role == "user"]


def _without_head(
    tokenizer: PreTrainedTokenizerBase, turns: Conversation, max_tokens: int, options: Options
) -> tuple[list[int], int]:
    """(the tokens without the head of the last turn's text, how many these were)."""
    head, middle, tail = _ids_apart(tokenizer, _parted(text_of(tokenizer, turns, options), turns[-1].text))
    room = max_tokens - len(head) - len(tail)
    if room < max_tokens // 4:  # the frame alone nearly fills it
        ids = _prompt_ids(tokenizer, turns, options)
        return ids[-max_tokens:], len(ids) - max_tokens
    return [*head, *middle[-room:], *tail], max(0, len(middle) - room)


def _exchange_cut(tokenizer: PreTrainedTokenizerBase, turns: Conversation, max_tokens: int) -> list[int]:
    """The tokens without the answer's tail and the prompt's head, of which at least a quarter of the room stays."""
    before, answer, after = _parted(text_of(tokenizer, turns, is_open=False), turns[-1].text)
    head, body, between, reply, tail = _ids_apart(tokenizer, (*_parted(before, turns[-2].text), answer, after))
    room = max_tokens - len(head) - len(between) - len(tail)
    if room < max_tokens // 4:  # the frame alone nearly fills it
        return _exchange_ids(tokenizer, turns)[-max_tokens:]
    reply = reply[: room - min(len(body), room // 4)]
    return [*head, *body[len(body) - min(len(body), room - len(reply)) :], *between, *reply, *tail]


def _parted(text: str, body: str) -> tuple[str, str, str]:
    """(what stands before the last place of a turn's text, that text as the template has it, what stands behind it)."""
    body = body if body in text else body.strip()  # some templates strip it
    place = text.rfind(body)
    return (text[:place], body, text[place + len(body) :]) if place >= 0 else ("", text, "")


def _ids_apart(tokenizer: PreTrainedTokenizerBase, parts: Sequence[str]) -> list[list[int]]:
    return [ids_of(tokenizer, part, is_start=number == 0) for number, part in enumerate(parts)]


def _exchange_ids(tokenizer: PreTrainedTokenizerBase, turns: Conversation) -> list[int]:
    return ids_of(tokenizer, text_of(tokenizer, turns, is_open=False), is_start=True)


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, turns: Conversation, options: Options) -> list[int]:
    return ids_of(tokenizer, text_of(tokenizer, turns, options), is_start=True)
