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
from trainer.rating.questions import QUESTION_VERSION, Said


class Replies:
    """What a rater said of two answers in one order, by their texts."""

    def __init__(self, path: Path) -> None:
        """Reads what is kept; lines that are none are passed over.

        Raises:
            OSError: the file may not be read.
        """
        self._path = path
        self._said: dict[str, Said] = {}
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                key, said = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                continue
            if said in get_args(Said):
                self._said[str(key)] = said

    def find(self, prompt: Prompt, first: str, second: str) -> Said | None:
        """What it said; None if it was not asked yet."""
        return self._said.get(_key(prompt, first, second))

    def keep(self, prompt: Prompt, first: str, second: str, said: Said) -> None:
        """Adds what it said to the file, on the disk.

        Raises:
            RegistryError: MODEL_DIR is full or not writable.
        """
        key = _key(prompt, first, second)
        with writing(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(b"\n" + json.dumps([key, said]).encode())  # a line break first: the line before may be torn
                file.flush()
                os.fsync(file.fileno())
        self._said[key] = said


def _key(prompt: Prompt, first: str, second: str) -> str:
    text = "\0".join((str(QUESTION_VERSION), transcript(prompt), first, second))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
