"""Which rows a project holds. A row is told from others by its prompt, its context and its answers.

The context is what the label config shows beside prompt and answers, and the fields that public data keeps it in.
"""

import hashlib
import json
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import normalised
from preference.labelling.task_data import value_at

_CONTEXT = {"system", "system_prompt", "context", "history", "input"}
_MOST_UNSORTED = 20_000
_FORM = 1  # count up when the identity of the same row changes


class KnownRows:
    """What a project holds, or soon will, in some 32 bytes a row."""

    def __init__(self, layout: LabelingLayout) -> None:
        self._layout, self._context = layout, sorted(_CONTEXT | layout.context_fields)
        self._sorted = np.empty(0, dtype=np.uint64)
        self._unsorted: set[int] = set()

    def identity(self, data: dict[str, Any]) -> int:
        """The same for a row and its twins; 0 up to 2**63."""
        return _digest(self._question(data), *self._layout.answers(data))

    @property
    def signature(self) -> str:
        """The same as long as a task is the same rows."""
        layout = self._layout
        described: list[Any] = [_FORM, layout.prompt_field, *layout.answer_fields, *self._context]
        if layout.message_keys is not None:
            described.append(vars(layout.message_keys))
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def identities(self, data: dict[str, Any]) -> list[int]:
        """Of all rows that a task is, four at most: one that was made of a row without one of its answers, or any, is that row as well."""
        question, answers = self._question(data), self._layout.answers(data)
        is_list = self._layout.ranker is not None  # which is written as a whole
        rows: Iterable[tuple[str | None, ...]] = (
            {answers, (None,)} if is_list else product(*({answer, None} for answer in answers))
        )
        return [_digest(question, *row) for row in rows]

    def add(self, data: dict[str, Any]) -> None:
        """Makes a task known."""
        self._unsorted.update(self.identities(data))
        if len(self._unsorted) > _MOST_UNSORTED:
            self.add_identities(np.fromiter(self._unsorted, dtype=np.uint64, count=len(self._unsorted)))
            self._unsorted.clear()

    def add_identities(self, identities: NDArray[np.uint64]) -> None:
        """Makes the rows with these identities known."""
        self._sorted = np.union1d(self._sorted, identities)

    def holds(self, data: dict[str, Any]) -> bool:
        """Whether the row is there already."""
        identity = self.identity(data)
        if identity in self._unsorted:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(identity)))
        return place < len(self._sorted) and int(self._sorted[place]) == identity

    def _question(self, data: dict[str, Any]) -> str:
        context = {name: held for name in self._context if (held := value_at(data, name)) not in (None, "")}
        prompt = normalised(self._layout.prompt(data) or "")
        return f"{prompt}\0{json.dumps(context, sort_keys=True)}" if context else prompt


def _digest(question: str, *answers: str | None) -> int:
    text = "\0".join((question, *(answer or "" for answer in answers)))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1
