"""The replies of one rater to one project's comparisons, kept as they come: <project folder>/raters/<name>.replies.jsonl

Covered: a kill at any time, also within a line; a full disk; two commands at once, of which each may ask what the other asks.
Not covered: a rater that would say something else today. To ask again, delete the file.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import get_args

from preference.atomic_files import writing
from preference.labelling.prompts import Prompt, transcript
from trainer.rating.questions import QUESTION_VERSION, Reply


class Replies:
    """What a rater replied about two answers in one order, by their texts."""

    def __init__(self, path: Path) -> None:
        """Reads what is kept; lines that are none are passed over.

        Raises:
            OSError: the file may not be read.
        """
        self._path = path
        self._replies: dict[str, Reply] = {}
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                key, reply = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                continue
            if reply in get_args(Reply) and reply != "refused":
                self._replies[str(key)] = reply

    def find(self, prompt: Prompt, first: str, second: str) -> Reply | None:
        """The reply; None if it was not asked yet."""
        return self._replies.get(_key(prompt, first, second))

    def keep(self, prompt: Prompt, first: str, second: str, reply: Reply) -> None:
        """Adds a reply to the file, on the disk; one that the server refused only to what is known here, so that it is asked again.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        key = _key(prompt, first, second)
        self._replies[key] = reply
        if reply == "refused":  # by the server, whose limits or settings may be others the next time
            return
        with writing(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(b"\n" + json.dumps([key, reply]).encode())  # a line break first: the line before may be torn
                file.flush()
                os.fsync(file.fileno())


def _key(prompt: Prompt, first: str, second: str) -> str:
    text = "\0".join((str(QUESTION_VERSION), transcript(prompt), first, second))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
