"""Messages with several replies, as in OASST: every two replies to one message are a comparison, the one of lower rank the better."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from backend.prompt_files.comparisons import Comparison, Row, better_of, but, number, of_rows
from backend.prompt_files.conversations import turns
from preference.errors import PromptFileError
from preference.labelling.prompts import Turn

ALONE = "fewer than two replies to compare"
NO_THREAD = "the messages above it are not in the file"


def compared_replies(rows: Sequence[Row]) -> Iterator[Comparison | str]:
    """The comparisons of one tree's messages, or why there is none."""
    known = {str(row["message_id"]): row for row in rows}
    replies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["role"] == "assistant" and row.get("deleted") not in (True, "True", "true"):
            replies[str(row["parent_id"])].append(row)
    for parent in dict.fromkeys([*(name for name, row in known.items() if row["role"] != "assistant"), *replies]):
        above = _thread(parent, known)
        if len(replies[parent]) < 2:
            yield ALONE
        elif above is None:
            yield NO_THREAD
        else:
            for both in combinations(replies[parent], 2):
                first, second = (number(row.get("rank")) for row in both)
                yield of_rows(above, both, "text", better_of(second, first), but=["role"])


def messages_of_tree(row: Row) -> list[Row]:
    """The messages of a tree, each with its parent's id and what the row says of the whole."""
    messages: list[Row] = []
    waiting: list[Any] = [{**row["prompt"], "parent_id": None}]
    for message in waiting:  # which grows meanwhile
        if not isinstance(message, dict) or not {"message_id", "role", "text"} <= message.keys():
            raise PromptFileError('a message of the tree lacks its "message_id", its "role" or its "text".')
        replies = message.get("replies")
        for reply in replies if isinstance(replies, list) else []:
            waiting.append({**reply, "parent_id": message["message_id"]} if isinstance(reply, dict) else reply)
        messages.append({**but(row, "prompt"), **but(message, "replies")})
    return messages


def _thread(name: str, known: Mapping[str, Row]) -> list[Turn] | None:
    """The turns down to a message; None if one of them is not known."""
    thread: list[Row] = []
    while name in known and len(thread) <= len(known):
        thread.append(known[name])
        if known[name]["parent_id"] in (None, ""):
            return turns([{"role": row["role"], "content": row["text"]} for row in reversed(thread)], role="user")
        name = str(known[name]["parent_id"])
    return None
