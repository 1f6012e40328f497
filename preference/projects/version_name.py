"""How people and programs name a version of a project: 12 is the one that is served, 12@v3 or 12@v3-20261121-062026 one of them."""

import re
from dataclasses import dataclass
from typing import Self

VERSION_NAME = r"v[0-9]{1,9}(-[0-9]{8}-[0-9]{6})?"
PROJECT_NAME = rf"[1-9][0-9]{{0,17}}(@{VERSION_NAME})?"
_PARTS = re.compile(rf"([0-9]+)(?:@({VERSION_NAME}))?", re.ASCII)


@dataclass(frozen=True)
class VersionName:
    """A project, and one of its versions; the one that is served if that is None. "v3" is the one of that number."""

    project: int
    version: str | None = None

    @classmethod
    def of_text(cls, text: str) -> Self | None:
        """What "12" or "12@v3" names; None if that is no such name."""
        if re.fullmatch(PROJECT_NAME, text, re.ASCII) is None or (parts := _PARTS.match(text)) is None:
            return None
        return cls(int(parts[1]), parts[2])
