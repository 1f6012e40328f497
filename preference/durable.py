"""Files that a crash of the machine leaves as they were before or as they are after, never between."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Writes a temporary neighbour, syncs it where it must outlive a crash of the machine, and renames it into place."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    if is_durable:
        sync(temporary)
    temporary.replace(path)
    if is_durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
