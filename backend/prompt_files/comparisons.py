"""What a row of public preference data says: a prompt, two answers on their sides, and which of them is better."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.prompt_files.conversations import answer_text, divided
from preference.labelling.controls.verdict import Meaning
from preference.labelling.prompts import Prompt, Turn, as_prompt, transcript

Row = Mapping[str, Any]
NO_ANSWER = "an answer is empty"
NO_PROMPT = "the two conversations have no prompt in common"


@dataclass(frozen=True)
class Comparison:
    """A prompt with two answers, the left one first; "" is one that is still to be written."""

    prompt: Prompt
    answers: tuple[str, str]
    choice: Meaning | None  # what the file says of them
    other: dict[str, Any]  # the other columns


def compared(
    above: Sequence[Turn], both: Sequence[Sequence[Turn]], other: dict[str, Any], *, choice: Meaning | None = None,
    better: int | None = None,
) -> Comparison | str:  # fmt: skip
    """The comparison of two conversations, or why there is none. `above`: turns before both; what both begin with comes after it.

    They keep their sides, unless `better` says which is the better one: then a coin places them.
    """
    same = divided(*both)
    shared = list(both[0][:same])
    prompt = shared if _contains(shared, above) else [*above, *shared]
    if not prompt:
        return NO_PROMPT
    if any(len(conversation) == same or conversation[same].role == "user" for conversation in both):
        return NO_ANSWER
    left, right = (answer_text(conversation[same:]) for conversation in both)
    asked = as_prompt(prompt)
    return Comparison(asked, (left, right), choice, other) if better is None else placed(asked, (left, right), better, other)


def half(above: Sequence[Turn], answer: Sequence[Turn], other: dict[str, Any]) -> Comparison | str:
    """A prompt with one answer, or none: the others are still to be written."""
    if not above:
        return NO_PROMPT
    prompt, text = as_prompt(above), answer_text(answer)
    return Comparison(prompt, (text, "") if _coin(transcript(prompt), text) else ("", text), None, other)


def of_rows(
    above: Sequence[Turn], both: Sequence[Row], column: str, better: int | None, *, but: Sequence[str]
) -> Comparison | str:  # fmt: skip
    """The comparison of two rows that hold an answer each; a column in which they differ becomes a list, left before right."""
    answers = [str(row[column]) for row in both]
    if not above or not all(answer.strip() for answer in answers):
        return NO_ANSWER if above else NO_PROMPT
    comparison = placed(as_prompt(above), answers, better, {})
    left, right = both if comparison.answers[0] == answers[0] else both[::-1]
    names = [name for name in left if name not in (column, *but)]
    other = {name: left[name] if left[name] == right.get(name) else [left[name], right.get(name)] for name in names}
    return Comparison(comparison.prompt, comparison.answers, comparison.choice, other)


def placed(prompt: Prompt, answers: Sequence[str], better: int | None, other: dict[str, Any]) -> Comparison:
    """A coin decides the better answer's side, always alike: so two rows that contradict each other are two comparisons."""
    first = better or 0
    left = first if _coin(transcript(prompt), *sorted(answers)) else 1 - first
    choice: Meaning | None = None if better is None else "left" if left == better else "right"
    return Comparison(prompt, (answers[left], answers[1 - left]), choice, other)


def but(row: Row, *names: str) -> dict[str, Any]:
    """The other columns."""
    return {name: value for name, value in row.items() if name not in names}


def number(value: Any) -> float | None:
    """A number, also if it stands in a text; None if it is none."""
    try:
        return None if math.isnan(held := float(value)) else held
    except (TypeError, ValueError):
        return None


def better_of(first: float | None, second: float | None) -> int | None:
    """The place of the larger number; None if one is missing, or they are equal."""
    if first is None or second is None or first == second:
        return None
    return 0 if first > second else 1


def _contains(conversation: Sequence[Turn], part: Sequence[Turn]) -> bool:
    return any(list(conversation[n : n + len(part)]) == list(part) for n in range(len(conversation) - len(part) + 1))


def _coin(*texts: str) -> int:
    """0 or 1; always the same for the same texts."""
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=1).digest()[0] & 1
