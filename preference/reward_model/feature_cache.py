"""Features on disk, shared by every process on a MODEL_DIR: one store for each recipe (feature_store.py).

The folder is safe to delete whole at any time: what is missing is computed again. Earlier builds kept a file for each feature; one that is
asked for moves into the store.
"""

import hashlib
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from preference.labelling.prompts import Prompt
from preference.log_once import LogOnce
from preference.reward_model.feature_store import FeatureStore

logger = logging.getLogger("pairloop.reward_model")
Array = NDArray[np.float32]
Texts = Sequence[tuple[Prompt, str]]
_FORMAT = 2  # of what a key is made from
_CHECKSUM_BYTES = 4  # at the end of a file of an earlier build
_LEFTOVER_SECONDS = 86400.0  # no writer of an earlier build takes so long
_LOCK_SECONDS = 60.0


class FeatureCache:
    """The features of one FeatureRecipe."""

    def __init__(self, model_dir: Path, key: str, *, size: int, now: Callable[[], float] = time.time) -> None:
        """`key`: of the recipe; `size`: numbers of a feature, which are kept in float32 whatever the base computes in."""
        self._folder = model_dir / "features" / key
        self._store = FeatureStore(self._folder, f"float32-{size}")
        self._now = now  # asked at each reading: a backend runs for weeks
        self._log_once = LogOnce()  # a disk that fails, fails each of thousands of features

    def read(self, texts: Texts, *, into: Sequence[Array]) -> NDArray[np.bool_]:
        """(num_texts,) which features were there, and now are in `into`, where damaged ones are 0."""
        digests = [_digest(*text) for text in texts]
        is_there, num_damaged = self._store.read(_keys(digests), into=into, now=self._now())
        if num_damaged:
            self._warn_of_damage()
        if not is_there.all() and self._has_files():
            self._take_over(digests, into, is_there)
        return is_there

    def has(self, prompt: Prompt, answer: str) -> bool:
        """Whether there is a feature, good or damaged."""
        digest = _digest(prompt, answer)
        with suppress(OSError):
            return bool(self._store.has(_keys([digest]))[0]) or (self._has_files() and self._file(digest).exists())
        return False

    def keep(self, texts: Texts, rows: Sequence[Array]) -> None:
        """Writes features; if that fails, they are computed again next time."""
        self._keep([_digest(*text) for text in texts], rows)

    def _keep(self, digests: Sequence[bytes], rows: Sequence[Array]) -> bool:
        try:
            self._store.keep(_keys(digests), rows, now=self._now())
        except (OSError, NotImplementedError) as error:  # a full disk costs speed, not the answer; filelock raises both
            reason = getattr(error, "strerror", None) or str(error)
            self._warn("features cannot be kept in %s (%s), so they are computed each time", self._folder, reason)
            return False
        return True

    def _take_over(self, digests: Sequence[bytes], into: Sequence[Array], is_there: NDArray[np.bool_]) -> None:
        """Reads what is missing from the files of an earlier build, and moves it into the store."""
        taken: list[int] = []
        for i in np.flatnonzero(~is_there).tolist():
            path = self._file(digests[i])
            try:
                content = path.read_bytes()
            except OSError:
                continue
            numbers = content[:-_CHECKSUM_BYTES]
            checksum = zlib.crc32(numbers, zlib.crc32(path.name.encode())).to_bytes(_CHECKSUM_BYTES)
            if len(numbers) != into[i].nbytes or content[-_CHECKSUM_BYTES:] != checksum:
                self._warn_of_damage()
                continue
            into[i][:] = np.frombuffer(numbers, np.float32)
            is_there[i] = True
            taken.append(i)
        if taken and self._keep([digests[i] for i in taken], [into[i] for i in taken]):
            for i in taken:
                with suppress(OSError):
                    self._file(digests[i]).unlink()

    def _has_files(self) -> bool:
        """Whether an earlier build left files here."""
        return any(self._folder.glob("[0-9a-f][0-9a-f]/"))

    def _file(self, digest: bytes) -> Path:
        return self._folder / digest.hex()[:2] / f"{digest.hex()[2:]}.f32"

    def _warn_of_damage(self) -> None:
        self._warn(
            "a cached feature in %s is damaged; it is computed again, and so are others like it, which are not logged",
            self._folder,
        )

    def _warn(self, message: str, *arguments: object) -> None:
        if self._log_once.is_news(message):
            logger.warning(message, *arguments)


def prune_features(model_dir: Path, *, most_bytes: int) -> int:
    """How many features were deleted so that all of them together take no more than nine tenths of `most_bytes`.

    Up to `most_bytes`, only temporary files that killed writers of earlier builds wrote over a day ago are deleted. Beyond that, the
    features that no process has read for the longest time are deleted first.
    """
    folder = model_dir / "features"
    if not folder.is_dir():
        return 0
    try:
        with FileLock(folder / ".lock", timeout=_LOCK_SECONDS):  # two at once would each delete what is too much
            num_deleted = _prune(folder, most_bytes)
    except (OSError, NotImplementedError) as error:
        _warn_of_bound(folder, error)
        return 0
    if num_deleted:
        logger.info("deleted %d cached features that were unused for the longest time (FEATURES_MB)", num_deleted)
    return num_deleted


def _prune(folder: Path, most_bytes: int) -> int:
    stores = [
        FeatureStore(path.parent, path.stem)
        for path in folder.glob("*/*.index")
        if re.fullmatch(r"\w+-\d+", path.stem) and not path.parent.is_symlink()
    ]
    files = _files(folder)
    used = [*(store.used() for store in stores), np.array([time for time, _, _ in files])]
    num_bytes = np.concatenate([
        *(np.full(len(times), store.row_bytes) for store, times in zip(stores, used, strict=False)), [size for _, size, _ in files]
    ])  # fmt: skip
    too_many = num_bytes.sum() - most_bytes
    if too_many <= 0:
        return 0
    order = np.argsort(np.concatenate(used), kind="stable")
    freed = np.cumsum(num_bytes[order])
    dropped = order[: int(np.searchsorted(freed, too_many + most_bytes * 0.1)) + 1]
    *of_stores, of_files = np.bincount(
        np.repeat(np.arange(len(used)), [len(times) for times in used])[dropped], minlength=len(used)
    )
    num_deleted = 0
    for store, count in zip(stores, of_stores, strict=True):
        try:
            num_deleted += store.drop_oldest(count)
        except (OSError, NotImplementedError) as error:  # the others are cut all the same
            _warn_of_bound(store.folder, error)
    for _, _, path in sorted(files)[:of_files]:
        with suppress(OSError):
            path.unlink()
            num_deleted += 1
    return num_deleted


def _warn_of_bound(folder: Path, error: Exception) -> None:
    logger.warning("the features in %s cannot be cut to FEATURES_MB (%s)", folder, getattr(error, "strerror", None) or error)


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """What earlier builds kept: when each file was last used, its bytes, and where it is."""
    files: list[tuple[float, int, Path]] = []
    for parent, _, names in os.walk(folder):  # goes on if a folder is deleted meanwhile; rglob would raise
        for path in (Path(parent) / name for name in names if ".f32" in name):  # a killed writer's temporary file too
            with suppress(OSError):  # another process may have replaced it
                state = path.stat()
                if path.name.startswith(".") and abs(time.time() - state.st_mtime) > _LEFTOVER_SECONDS:
                    path.unlink()
                    continue
                files.append((state.st_mtime, state.st_size, path))
    return files


def _digest(prompt: Prompt, answer: str) -> bytes:
    """Of 32 bytes."""
    asked = f"{len(prompt)}|{prompt}" if isinstance(prompt, str) else f"turns|{json.dumps(prompt)}"
    text = f"{_FORMAT}|{asked}|{answer.strip()}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()  # which encoding.py puts into role markers


def _keys(digests: Sequence[bytes]) -> NDArray[np.uint64]:
    """(num_digests, 2) the first half of each."""
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 4)[:, :2]
