"""Rows of public preference data, known by their columns: what they compare, and which answer they say is better.

Covered: hh-rlhf; `prompt`, `chosen` and `rejected` as texts or messages (TRL, UltraFeedback binarized); `prompt` and `completion`,
`messages` (TRL); SHP; Chatbot Arena; HelpSteer2, its preferences and its ratings; OASST, as messages and as trees.
Not covered: an answer that is an image, a call of a tool or anything else than text.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations, zip_longest
from typing import Any

from backend.prompt_files.comparisons import Comparison, Row, better_of, but, compared, half, number, of_rows
from backend.prompt_files.conversations import as_list, is_conversation, turns
from backend.prompt_files.reply_trees import ALONE, compared_replies, messages_of_tree
from preference.errors import PromptFileError
from preference.labelling.controls.verdict import Meaning
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Turn

_PROMPTS = ("prompt", "question", "instruction")  # columns of a prompt beside `chosen` and `rejected`
_WINNERS: dict[str, Meaning] = {"model_a": "left", "model_b": "right", "tie": "tie", "tie (bothbad)": "both_bad"}

Reader = Callable[[Sequence[Row]], Iterator[Comparison | str]]  # of rows that belong together; a text says why one is passed over


def reader_of(row: Any, layout: LabelingLayout) -> Reader | None:
    """What reads such a row; None if it is a plain one, as is any that has a field of an answer."""
    if not isinstance(row, dict) or any(field in row for field in layout.answer_fields):
        return None
    if isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]:
        return _tree
    reader = next((reader for columns, reader in _READERS if row.keys() >= set(columns)), None)
    field = layout.prompt_field
    if reader is None and field is not None and is_conversation(row.get(field)) and layout.prompt(row) is None:
        return lambda rows: _prompt(rows, field)
    return reader


def belonging(row: Any) -> Hashable:
    """The same for neighbours that are read together; None if a row stands for itself."""
    if not isinstance(row, dict):
        return None
    if row.keys() >= {"message_id", "parent_id", "message_tree_id"}:
        return "tree", str(row["message_tree_id"])
    return ("prompt", str(row["prompt"])) if row.keys() >= {"prompt", "response", "helpfulness"} else None


# One row, two answers


def _chosen(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    named = next((name for name in _PROMPTS if row.get(name) not in (None, "", [])), None)
    above = [] if named is None else turns(as_list(row[named]), role="user")
    both = [turns(as_list(row[name]), role="assistant") for name in ("chosen", "rejected")]
    if not above and any(conversation[:1] and conversation[0].role == "assistant" for conversation in both):
        raise PromptFileError('no prompt; it should be a column "prompt", or stand at the beginning of "chosen" and "rejected".')
    other = but(row, "chosen", "rejected", "messages", *([named] if named else []))  # `messages` are those of `chosen`
    yield compared(above, [_after(conversation, above) for conversation in both], other, better=0)


def _arena(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    names = ("conversation_a", "conversation_b")
    both = [as_list(row[name]) for name in names]
    if not all(map(is_conversation, both)):
        raise PromptFileError('"conversation_a" and "conversation_b" should be lists of messages; save the data as JSON lines.')
    conversations = [turns(messages, role="user") for messages in both]
    yield compared([], conversations, but(row, *names), choice=_WINNERS.get(str(row.get("winner"))))


def _arena_texts(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    """Of the file with a column for each outcome, whose conversations are lists of texts."""
    (row,) = rows
    names = ("prompt", "response_a", "response_b")
    asked, *answered = ([text or "" for text in value] if isinstance(value := as_list(row[n]), list) else [value] for n in names)
    both = [
        turns([m for pair in zip_longest(asked, texts, fillvalue="") for m in _exchange(*pair)], role="user")
        for texts in answered
    ]
    outcomes: dict[str, Meaning] = {"winner_model_a": "left", "winner_model_b": "right", "winner_tie": "tie"}
    choice = next((meaning for name, meaning in outcomes.items() if number(row.get(name)) == 1), None)
    yield compared([], both, but(row, *names), choice=choice or _WINNERS.get(str(row.get("winner"))))


def _shp(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    label = number(row.get("labels"))
    choice: Meaning | None = "left" if label == 1 else "right" if label == 0 else None
    yield _texts(row, "history", ("human_ref_A", "human_ref_B"), choice)


def _helpsteer(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    strength = number(row.get("preference_strength"))  # -3, the first is much better, to 3, the second is
    choice: Meaning | None = None
    if strength is not None:
        choice = "left" if strength < 0 else "right" if strength > 0 else "tie"
    yield _texts(row, "prompt", ("response_1", "response_2"), choice)


# One row, one answer or none


def _completion(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    above = turns(as_list(row["prompt"]), role="user")
    answer = _after(turns(as_list(row["completion"]), role="assistant"), above)
    yield half(above, answer, but(row, "prompt", "completion"))


def _messages(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    every = turns(as_list(row["messages"]), role="user")
    end = len(every) - 1 if every and every[-1].role == "assistant" else len(every)
    yield half(every[:end], every[end:], but(row, "messages"))


def _prompt(rows: Sequence[Row], field: str) -> Iterator[Comparison | str]:
    (row,) = rows
    yield half(turns(row[field], role="user"), [], but(row, field))


# Several answers to a prompt


def _ratings(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    if len(rows) < 2:
        yield ALONE
    above = turns(rows[0]["prompt"], role="user")
    for both in combinations(rows, 2):
        better = better_of(*(number(row["helpfulness"]) for row in both))
        yield of_rows(above, both, "response", better, but=["prompt"])


def _tree(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    (row,) = rows
    yield from compared_replies(messages_of_tree(row))


_READERS: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (("conversation_a", "conversation_b"), _arena),
    (("prompt", "response_a", "response_b"), _arena_texts),
    (("history", "human_ref_A", "human_ref_B"), _shp),
    (("prompt", "response_1", "response_2"), _helpsteer),
    (("prompt", "response", "helpfulness"), _ratings),
    (("message_id", "parent_id", "message_tree_id", "text", "role"), compared_replies),
    (("chosen", "rejected"), _chosen),
    (("prompt", "completion"), _completion),
    (("messages",), _messages),
)


def _texts(row: Row, prompt: str, answers: tuple[str, str], choice: Meaning | None) -> Comparison | str:
    both = [turns(row[name], role="assistant") for name in answers]
    return compared(turns(row[prompt], role="user"), both, but(row, prompt, *answers), choice=choice)


def _after(conversation: list[Turn], above: list[Turn]) -> list[Turn]:
    return conversation[len(above) :] if conversation[: len(above)] == above else conversation


def _exchange(asked: Any, answered: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
