"""Features on disk: one small file for each (prompt, answer), shared by every process on a MODEL_DIR.

A file is the numbers, then four bytes of a checksum over whose they are and what they are.
Covered: two processes write the same feature, a kill in the middle, a file that is damaged (one bit is enough), of another
feature or deleted at any time, a bound on the size. The folder is safe to delete whole: what is missing is computed again.
"""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preference.atomic_files import write_whole
from preference.labelling.prompts import Prompt
from preference.log_once import LogOnce

logger = logging.getLogger("pairloop.reward_model")
Array = NDArray[np.float32]
_FORMAT = 2  # of a file; files of another are not read, and are pruned in time
_CHECKSUM_BYTES = 4
_LEFTOVER_SECONDS = 86400.0  # no writer takes so long
_MARKED_EVERY = 86400.0  # seconds: a feature that is read is marked as used once a day, no oftener


class FeatureCache:
    """The features of one FeatureRecipe."""

    def __init__(self, model_dir: Path, key: str, *, now: Callable[[], float] = time.time) -> None:
        self._folder = model_dir / "features" / key
        self._now = now  # asked at each reading: a backend runs for weeks
        self._log_once = LogOnce()  # a disk that fails, fails each of thousands of features

    def read(self, prompt: Prompt, answer: str, *, into: Array) -> bool:
        """Whether the feature was there, and now is in `into`."""
        path = self._path(prompt, answer)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError:
            content = b""
        numbers = content[:-_CHECKSUM_BYTES]
        if len(numbers) != into.nbytes or content[-_CHECKSUM_BYTES:] != _checksum(path, numbers):
            self._warn(
                "the cached feature %s is damaged; it is computed again, and so are others like it, which are not logged",
                path.name,
            )
            return False
        into[:] = np.frombuffer(numbers, np.float32)
        with suppress(OSError):
            if self._now() - path.stat().st_mtime > _MARKED_EVERY:
                os.utime(path)
        return True

    def has(self, prompt: Prompt, answer: str) -> bool:
        """Whether there is a feature, good or damaged."""
        with suppress(OSError):
            return self._path(prompt, answer).exists()
        return False

    def keep(self, prompt: Prompt, answer: str, row: Array) -> None:
        """Writes a feature; if that fails, it is computed again next time."""
        path = self._path(prompt, answer)
        numbers = row.tobytes()  # no .npy: a damaged header makes numpy raise whatever Python's parser does
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, numbers + _checksum(path, numbers), is_durable=False)
        except OSError as error:  # a full disk costs speed, not the answer
            self._warn("features cannot be kept in %s (%s), so they are computed each time", self._folder, error.strerror)

    def _path(self, prompt: Prompt, answer: str) -> Path:
        asked = f"{len(prompt)}|{prompt}" if isinstance(prompt, str) else f"turns|{json.dumps(prompt)}"
        text = f"{_FORMAT}|{asked}|{answer.strip()}"
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()  # which encoding.py puts into role markers
        return self._folder / digest[:2] / f"{digest[2:]}.f32"

    def _warn(self, message: str, *arguments: object) -> None:
        if self._log_once.is_news(message):
            logger.warning(message, *arguments)


def prune_features(model_dir: Path, *, most_bytes: int) -> int:
    """How many features were deleted so that all of them together take no more than nine tenths of `most_bytes`.

    Up to `most_bytes`, only temporary files that killed writers wrote over a day ago are deleted. Beyond that, the features that no
    process has read for the longest time are deleted first.
    """
    files: list[tuple[float, int, Path]] = []
    for folder, _, names in os.walk(model_dir / "features"):  # goes on if a folder is deleted meanwhile; rglob would raise
        for path in (Path(folder) / name for name in names if ".f32" in name):  # a killed writer's temporary file too
            with suppress(OSError):  # another process may have replaced it
                state = path.stat()
                if path.name.startswith(".") and abs(time.time() - state.st_mtime) > _LEFTOVER_SECONDS:
                    path.unlink()
                    continue
                files.append((state.st_mtime, state.st_size, path))
    size = sum(num_bytes for _, num_bytes, _ in files)
    if size <= most_bytes:
        return 0
    num_deleted = 0
    for _, num_bytes, path in sorted(files):
        if size <= most_bytes * 0.9:
            break
        with suppress(OSError):
            path.unlink()
            num_deleted += 1
        size -= num_bytes
    logger.info("deleted %d cached features that were unused for the longest time (FEATURES_MB)", num_deleted)
    return num_deleted


def _checksum(path: Path, numbers: bytes) -> bytes:
    return zlib.crc32(numbers, zlib.crc32(path.name.encode())).to_bytes(_CHECKSUM_BYTES)
