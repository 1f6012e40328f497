"""What a log, an answer or an error's message may contain of what went wrong, if prompts and answers took part in it.

Covered: the messages inside tracebacks, and servers that quote what they were sent.
Not covered: a server that quotes it changed, or from its middle.
"""

import json
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

_RECOGNIZED = 12  # characters by which a text is recognized; a shorter text is, if it stands in quotes


def trace(error: BaseException) -> str:
    """Where an error came from, and what led to it: types and places, without their messages.

    A message may hold anything: a KeyError names the key, a template or a tokenizer the text that it failed on.
    """
    parts = []
    for each in reversed(list(_causes(error))):
        places = "".join(traceback.format_tb(each.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{places}{type(each).__module__}.{type(each).__qualname__}")
    return "\n\nwhich led to:\n\n".join(parts) + " (LOG_LEVEL=DEBUG shows messages, which may hold prompts)"


def unquoted(message: str, texts: Iterable[str]) -> str:
    """A server's message, up to the place where it quotes one of the texts that it was sent. White space counts as one space."""
    message = " ".join(message.split())
    ends = [place for text in texts for mark in _marks(text) if (place := message.find(mark)) >= 0]
    return message if not ends else f"{message[: min(ends)]}..."


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, without its keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)


def _marks(text: str) -> set[str]:
    """The beginnings by which a text is recognized: as it is, and as Python or JSON write it."""
    written = (" ".join(form.split()) for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1]))
    marks = {form[:_RECOGNIZED] if len(form) >= _RECOGNIZED else "" for form in written} - {""}
    return marks or ({f"{quote}{' '.join(text.split())}{quote}" for quote in "\"'"} if text.strip() else set())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on; each once."""
    ids: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in ids:
        ids.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
