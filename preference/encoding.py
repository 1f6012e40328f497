"""The one way a prompt and an answer become tokens, for training and for serving alike.

A template or padding that differs between the two is the classic defect of reward models (huggingface/trl#937).
"""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

ENCODING_VERSION = 1  # part of every feature's key: count up when the tokens of the same text change


@dataclass(frozen=True)
class EncodedAnswer:
    """The tokens of a prompt and its answer, closed by the end-of-sequence token."""

    input_ids: list[int]
    answer_start: int  # input_ids[answer_start:-1] are the answer's tokens
    num_cut: int  # tokens left out: the prompt's head first, then the answer's tail


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, *, max_tokens: int) -> tuple[list[int], int]:
    """(the prompt's tokens up to where an answer begins, how many were cut at its head)."""
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    else:
        text = prompt.rstrip() + "\n\n"
    ids: list[int] = tokenizer(text, add_special_tokens=not tokenizer.chat_template, verbose=False)["input_ids"]
    if not tokenizer.chat_template and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # some tokenizers close every text
    return ids[-max_tokens:], max(0, len(ids) - max_tokens)


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
