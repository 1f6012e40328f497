"""What every database of Label Studio takes: measured on label-studio 1.23.2 with PostgreSQL 15, which takes less than SQLite.

For what we write ourselves, and for files. What is in Label Studio comes out of its database, and goes back as it is.
"""

import math
import re
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_HALF = re.compile("[\ud800-\udfff]")


def storable(value: Any) -> tuple[Any, int]:
    """A JSON value that is stored everywhere, and how many characters and numbers were changed for that.

    NULs are removed from texts. A half of a surrogate pair, which is no character, becomes a replacement character, as does a NUL
    in a name, so that no two names become one; a number that is none becomes null. To each of them PostgreSQL, or what reads JSON
    before it, says no: Label Studio then answers 500 or 400.
    """
    if isinstance(value, str):
        return _whole(value, in_place_of_nul="")
    if isinstance(value, float) and not math.isfinite(value):
        return None, 1
    if isinstance(value, dict):
        names = [_whole(name, in_place_of_nul=_REPLACEMENT) for name in value]
        values, count = storable(list(value.values()))
        return dict(zip((name for name, _ in names), values, strict=True)), count + sum(more for _, more in names)
    if isinstance(value, list | tuple):
        parts = [storable(part) for part in value]
        return [part for part, _ in parts], sum(count for _, count in parts)
    return value, 0


def _whole(text: str, *, in_place_of_nul: str) -> tuple[str, int]:
    num_changed = text.count("\0")
    if num_changed:
        text = text.replace("\0", in_place_of_nul)
    if text.isascii() or not _HALF.search(text):
        return text, num_changed
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves that belong together become one
    return whole, num_changed + whole.count(_REPLACEMENT) - text.count(_REPLACEMENT)
