"""The one way a prompt and an answer become tokens, for training and for serving alike.

A template or padding that differs between the two is the classic defect of reward models (huggingface/trl#937).
"""

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError

ENCODING_VERSION = 2  # part of every feature's key: count up when the tokens of the same text change


@dataclass(frozen=True)
class EncodedAnswer:
    """The tokens of a prompt and its answer, closed by the end-of-sequence token."""

    input_ids: list[int]
    answer_start: int  # input_ids[answer_start:-1] are the answer's tokens
    num_cut: int  # tokens that were cut: the prompt's head first, then the answer's tail


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, max_tokens: int, system: str = "") -> tuple[list[int], int]:
    """(the prompt's tokens up to where an answer begins, how many were cut at its head).

    `system`: the instructions before it. Only the prompt itself is cut, not what a template or `system` put round it.
    """
    before, body, after = _framed(tokenizer, prompt, system)
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
    answer_ids: list[int] = tokenizer(answer.strip(), add_special_tokens=False, verbose=False)["input_ids"]
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
    ids: list[int] = tokenizer(text, add_special_tokens=is_start and not tokenizer.chat_template, verbose=False)["input_ids"]
    if not tokenizer.chat_template and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers close every text
    return ids
