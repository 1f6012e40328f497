"""Features on disk: one small file for each (prompt, answer), shared by every process on a MODEL_DIR.

Covered: two processes write the same feature, a kill in the middle, a file that is damaged or deleted at any time, a bound on
the size. The folder is safe to delete whole: what is missing is computed again.
"""

import hashlib
import logging
import math
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
Array = NDArray[np.float32]
_MARKED_EVERY = 86400.0  # seconds: a feature that is read is marked as used once a day, no oftener


class FeatureCache:
    """The features of one FeatureRecipe."""

    def __init__(self, model_dir: Path, key: str, *, now: Callable[[], float] = time.time) -> None:
        self._folder = model_dir / "features" / key
        self._now = now  # asked at each reading: a backend runs for weeks

    def read(self, prompt: str, answer: str, *, into: Array) -> bool:
        """Whether the feature was there, and now is in `into`."""
        path = self._path(prompt, answer)
        try:
            row = np.frombuffer(path.read_bytes(), np.float32)
        except FileNotFoundError:
            return False
        except (OSError, ValueError):
            row = np.empty(0, np.float32)
        if row.shape != into.shape or not math.isfinite(float(row.sum())):
            logger.warning("the cached feature %s is damaged; computing it again", path.name)
            return False
        into[:] = row
        with suppress(OSError):
            if self._now() - path.stat().st_mtime > _MARKED_EVERY:
                os.utime(path)
        return True

    def keep(self, prompt: str, answer: str, row: Array) -> None:
        """Writes a feature; where that fails, it is computed again next time."""
        path = self._path(prompt, answer)
        temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.f32")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(row.tobytes())  # no .npy: a damaged header makes numpy raise whatever Python's parser does
            temporary.replace(path)
        except OSError as error:  # a full disk costs speed, not the answer
            logger.warning("a feature could not be kept in %s (%s)", self._folder, error.strerror)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, prompt: str, answer: str) -> Path:
        digest = hashlib.sha256(f"{len(prompt)}|{prompt}|{answer.strip()}".encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:]}.f32"


def prune_features(model_dir: Path, *, most_bytes: int) -> int:
    """How many features were deleted so that all of them together take no more than nine tenths of `most_bytes`.

    Nothing is done below `most_bytes`. Those go first that no process has read for the longest time.
    """
    found: list[tuple[float, int, Path]] = []
    for folder, _, names in os.walk(model_dir / "features"):  # goes on where a folder is deleted meanwhile; rglob would raise
        for path in (Path(folder) / name for name in names if name.endswith(".f32")):  # also what a killed writer left
            with suppress(OSError):  # another process may have replaced it
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
    size = sum(num_bytes for _, num_bytes, _ in found)
    if size <= most_bytes:
        return 0
    num_deleted = 0
    for _, num_bytes, path in sorted(found):
        if size <= most_bytes * 0.9:
            break
        with suppress(OSError):
            path.unlink()
            num_deleted += 1
        size -= num_bytes
    logger.info("deleted %d cached features that were unused for the longest time (FEATURES_MB)", num_deleted)
    return num_deleted
