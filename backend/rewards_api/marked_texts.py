"""A prompt and its answer out of one text, in which a chat template's marks tell the turns apart.

OpenRLHF and LLaMA-Factory send such texts in the template of the model that wrote the answer, verl in that of the reward model. The
reward model was trained on the bare texts, and puts its own template round them: with two templates its rewards would mean nothing.
Covered: the marks of ChatML (Qwen, SmolLM, Yi, Hermes), Llama 3, Gemma, Phi 3 and Zephyr; instructions that a template adds by itself,
if it is the reward model's; what a tokenizer puts before the first turn and after the last.
Not covered: other templates, such as Mistral's [INST], which are refused unless the request says where the prompt ends. Turns that an
answer itself writes: without that, the last turn is what is scored.
"""

import re
from dataclasses import dataclass

from preference.labelling.conversations import role_of
from preference.labelling.prompts import Conversation, Prompt, Turn
from preference.reward_model.exchanges import answer_of, exchange_of, prompt_of


@dataclass(frozen=True)
class _Marks:
    opening: re.Pattern[str]  # of a turn; its group is the role
    closing: re.Pattern[str]


_FORMATS = (
    _Marks(re.compile(r"<\|im_start\|>(\w+)\n"), re.compile(r"<\|im_end\|>")),
    _Marks(re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n"), re.compile(r"<\|eot_id\|>")),
    _Marks(re.compile(r"<start_of_turn>(\w+)\n"), re.compile(r"<end_of_turn>")),
    _Marks(re.compile(r"<\|(system|user|assistant)\|>\n"), re.compile(r"<\|end\|>|</s>")),
)
_BEFORE = re.compile(r"(\s|<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>)*")
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>", "<eos>", "<pad>")
# Read backwards: a search for what stands at the end would look at every white space again and again.
_AFTER = re.compile(rf"(\s|{'|'.join(re.escape(end[::-1]) for end in _ENDS)})*")


class Unreadable(ValueError):
    """Why prompt and answer cannot be told apart; quotes no text."""


def exchange_in(text: str, *, added: Conversation = ()) -> tuple[Prompt, str]:
    """(prompt, answer) of a text that holds both. `added`: turns that a template adds by itself, which are no part of a prompt.

    Raises:
        Unreadable: no marks that are known here tell them apart.
    """
    turns = _turns_in(text)
    if turns is None:
        raise Unreadable(
            "it has no marks that tell the prompt from the answer; send a text in the template of ChatML, Llama 3, Gemma or Phi 3, "
            "send `messages`, or use /score"
        )
    if role_of(turns[-1].role) != "assistant":
        raise Unreadable("its last turn is not the assistant's")
    *before, answer = turns
    return exchange_of([{"role": role, "content": said} for role, said in (*_without(added, before), answer)])


def exchange_behind(prompt: str, text: str, *, added: Conversation = ()) -> tuple[Prompt, str]:
    """The same if it is known which text the answer stands behind, whatever marks the answer holds.

    Raises:
        Unreadable: the text does not begin with that.
    """
    prompt, text = _without_beginning(prompt), _without_beginning(text)  # a tokenizer may have put a mark there, or taken a space
    if not text.startswith(prompt):
        raise Unreadable("it does not begin with its prompt")
    turns, begun = _turns_in(prompt), ""
    if turns and role_of(turns[-1].role) == "assistant":  # opened for the answer, which may be begun, with a thought say
        begun = turns.pop().text
    said = _without_end(begun + text[len(prompt) :])
    if turns is None:
        return prompt_of(prompt), answer_of(said)
    return prompt_of([{"role": role, "content": turn} for role, turn in _without(added, turns)]), answer_of(said)


def turns_added(marked: str) -> Conversation:
    """The turns that a template adds by itself. `marked`: what it makes of a prompt of one turn, up to where the answer begins."""
    turns = _turns_in(marked) or []
    return tuple(turn for turn in turns if turn.role == "system")


def _turns_in(text: str) -> list[Turn] | None:
    """The turns, in order; None if no known marks begin them."""
    for marks in _FORMATS:
        before, *pieces = marks.opening.split(text)
        if pieces and _BEFORE.fullmatch(before):
            return [Turn(role, marks.closing.split(said, 1)[0]) for role, said in zip(pieces[::2], pieces[1::2], strict=True)]
    return None


def _without_beginning(text: str) -> str:
    before = _BEFORE.match(text)
    return text[before.end() :] if before else text


def _without_end(text: str) -> str:
    end = _AFTER.match(text[::-1])
    return text[: len(text) - end.end()] if end else text


def _without(added: Conversation, turns: list[Turn]) -> list[Turn]:
    is_added = added and tuple(turns[: len(added)]) == added and len(turns) > len(added)
    return turns[len(added) :] if is_added else turns
