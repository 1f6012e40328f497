"""Rows of numbers under keys, in two files that any number of processes read, extend and cut at once.

`NAME-SIZE.rows` is one row of SIZE numbers behind the other. `NAME-SIZE.index` begins with a random token and says of each row whose it is,
when it was last used, and a checksum over both. A row counts from when its record is in the index.
Covered: a kill at any moment, a disk that is full, a bit that is flipped in either file, files that are cut, deleted or restored from
elsewhere, several writers and several that cut. Each costs the rows that it hits, and no others; nothing is synced to the disk.
Not covered: storage without file locks, on which rows are read and not kept.

The rows are read by position and not mapped: a mapped file kills its readers when it is cut, what is mapped counts as their memory,
and where a page fault is expensive, in a virtual machine, it takes several times as long.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from preference.atomic_files import DISK_FULL, write_whole

Array = NDArray[np.float32]
Keys = NDArray[np.uint64]  # (num_keys, 2)
_RECORD = np.dtype([("key", "<u8"), ("checksum", "<u8"), ("used", "<u8")])  # the first half of a key; seconds since 1970
_USED_AT = 16  # bytes into a record
_TOKEN_BYTES = 8
_MARKED_EVERY = 86400.0  # seconds: a row that is read is marked as used once a day, no oftener
_MOST_AT_ONCE = 128  # rows of one call of the system, which takes 1,024; so many are still in a cache when they are checked
_SPARE_BYTES = 4 * 4096  # beside a new index: files take whole pages
_LOCK_SECONDS = 60.0  # to cut a store of 4 GB takes some seconds


@dataclass(frozen=True, eq=False)
class _Index:
    """What an index said when it was last read."""

    token: bytes  # of the file: another one has its rows in other places
    records: NDArray[np.void]  # (num_rows,) in the order of the rows
    keys: NDArray[np.uint64]  # (num_rows,) their first halves, ascending; of equal ones the latest is last
    slots: NDArray[np.int64]  # (num_rows,) the row of each of these

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """(num_keys,) the latest row of each; -1 if there is none."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        at = np.searchsorted(self.keys, keys[:, 0], side="right") - 1
        return np.where((at >= 0) & (self.keys[at] == keys[:, 0]), self.slots[at], -1)

    def extended(self, records: NDArray[np.void]) -> "_Index":
        """With more rows behind the others."""
        keys = np.concatenate([self.keys, records["key"]])
        slots = np.concatenate([self.slots, np.arange(len(self.slots), len(keys))])
        order = np.argsort(keys, kind="stable")  # quick for a few behind many that are in order
        return _Index(self.token, np.concatenate([self.records, records]), keys[order], slots[order])


_NOTHING = _Index(b"", np.empty(0, _RECORD), np.empty(0, np.uint64), np.empty(0, np.int64))


class FeatureStore:
    """The rows of one pair of files. Safe for threads, and across a fork: no file stays open between calls."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name`: ends with a hyphen and the size of a row."""
        self.folder = folder
        self._rows_path, self._index_path = folder / f"{name}.rows", folder / f"{name}.index"
        self._row_bytes = 4 * int(name.rpartition("-")[2])
        self._known = _NOTHING

    @property
    def row_bytes(self) -> int:
        """What a row takes on the disk, with its record."""
        return self._row_bytes + _RECORD.itemsize

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """(num_keys,) which rows there are, whole or damaged."""
        return self._index().find(keys) >= 0

    def used(self) -> NDArray[np.uint64]:
        """(num_rows,) when each was last used, in seconds since 1970."""
        times: NDArray[np.uint64] = self._index().records["used"]
        return times

    def read(self, keys: Keys, *, into: Sequence[Array], now: float) -> tuple[NDArray[np.bool_], int]:
        """Which rows were there and whole, (num_keys,), and how many are damaged. The first are now in `into`, where damaged ones are 0."""
        index = self._index()
        slots = index.find(keys)
        places = np.flatnonzero(slots >= 0)
        places = places[np.argsort(slots[places], kind="stable")]
        is_whole = np.zeros(len(keys), bool)
        with suppress(OSError), self._rows_path.open("rb", buffering=0) as file:
            for run in np.split(places, np.flatnonzero(np.diff(slots[places]) != 1) + 1):
                for start in range(0, len(run), _MOST_AT_ONCE):
                    part = run[start : start + _MOST_AT_ONCE]
                    rows = [into[place] for place in part.tolist()]
                    os.preadv(file.fileno(), rows, int(slots[part[0]]) * self._row_bytes)
                    checks = zip(rows, keys[part, 1].tolist(), index.records["checksum"][slots[part]].tolist(), strict=True)
                    is_whole[part] = [xxh3_64_intdigest(row.data, seed) == checksum for row, seed, checksum in checks]
        damaged = places[~is_whole[places]].tolist()
        if damaged and self._index().token != index.token:  # a process that cuts the store moved rows meanwhile
            for place in places.tolist():  # any of them may be gone
                into[place][:] = 0
            return self.read(keys, into=into, now=now)
        for place in damaged:
            into[place][:] = 0
        self._mark(index, slots[is_whole], now=now)
        return is_whole, len(damaged)

    def keep(self, keys: Keys, rows: Sequence[Array], *, now: float) -> None:
        """Adds rows behind the others; the latest under a key counts.

        Raises:
            OSError: the disk is full or read-only, or the storage has no locks; what was there still is.
        """
        records = np.zeros(len(rows), _RECORD)
        records["key"], records["used"] = keys[:, 0], int(now)
        records["checksum"] = [xxh3_64_intdigest(row.data, seed) for row, seed in zip(rows, keys[:, 1].tolist(), strict=True)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(), _opened(self._index_path) as index_file, _opened(self._rows_path) as rows_file:
            num_rows = _num_records(index_file)
            rows_file.seek(num_rows * self._row_bytes)
            rows_file.truncate()  # what a killed writer left, or all if the index was lost
            for row in rows:
                rows_file.write(row.data)
            rows_file.flush()
            if num_rows == 0:
                index_file.write(os.urandom(_TOKEN_BYTES))
            index_file.seek(_TOKEN_BYTES + num_rows * _RECORD.itemsize)
            index_file.write(records.tobytes())

    def drop_oldest(self, count: int) -> int:
        """How many rows were dropped: `count`, or all, those that were unused for the longest time. The last rows take their places.

        On a full disk the last rows are dropped first, as many as make room for the index that is written, even if these are more than `count`.

        Raises:
            OSError: the disk is read-only, or still full, or the storage has no locks. Lost are at most the rows that were to be dropped, and the last.
        """
        with self._locked():
            try:
                return self._drop_oldest(count)
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
            num_cut = self._cut_last()
            return num_cut + self._drop_oldest(max(0, count - num_cut))

    def _drop_oldest(self, count: int) -> int:
        records = self._index().records.copy()
        dropped = np.argsort(records["used"], kind="stable")[:count]
        if not len(dropped):  # all others stay, also if the index could not be read
            return 0
        is_kept = np.ones(len(records), bool)
        is_kept[dropped] = False
        num_kept = int(is_kept.sum())
        records[dropped] = np.zeros((), _RECORD)
        self._write_index(records)  # before they are written over
        holes, moved = np.flatnonzero(~is_kept[:num_kept]), num_kept + np.flatnonzero(is_kept[num_kept:])
        with _opened(self._rows_path) as file:
            for hole, slot in zip(holes.tolist(), moved.tolist(), strict=True):
                file.seek(slot * self._row_bytes)
                row = file.read(self._row_bytes)
                file.seek(hole * self._row_bytes)
                file.write(row)
        records[holes] = records[moved]
        self._write_index(records[:num_kept])
        os.truncate(self._rows_path, num_kept * self._row_bytes)
        return len(dropped)

    def _cut_last(self) -> int:
        """How many rows were cut off, without taking space for it, so that an index can be written."""
        num_rows = len(self._index().records)
        num_cut = min(num_rows, -(-(num_rows * _RECORD.itemsize + _SPARE_BYTES) // self._row_bytes))
        with self._index_path.open("r+b", buffering=0) as file:
            file.truncate(_TOKEN_BYTES + (num_rows - num_cut) * _RECORD.itemsize)
            os.pwrite(file.fileno(), os.urandom(_TOKEN_BYTES), 0)
        os.truncate(self._rows_path, (num_rows - num_cut) * self._row_bytes)
        return num_cut

    def _index(self) -> _Index:
        """As it is now; what was read earlier is not read again."""
        known = _NOTHING
        with suppress(OSError), self._index_path.open("rb", buffering=0) as file:
            token, num_rows = file.read(_TOKEN_BYTES), _num_records(file)
            known = self._known
            if token != known.token or num_rows < len(known.records):
                known = _Index(token, _NOTHING.records, _NOTHING.keys, _NOTHING.slots)
            if num_new := num_rows - len(known.records):
                file.seek(_TOKEN_BYTES + len(known.records) * _RECORD.itemsize)
                known = known.extended(np.frombuffer(file.read(num_new * _RECORD.itemsize), _RECORD))
        self._known = known
        return known

    def _write_index(self, records: NDArray[np.void]) -> None:
        write_whole(self._index_path, os.urandom(_TOKEN_BYTES) + records.tobytes(), is_durable=False)

    def _mark(self, index: _Index, slots: NDArray[np.int64], *, now: float) -> None:
        """Notes that these rows were used, if that was last noted over a day ago."""
        times = index.records["used"]
        unmarked = slots[now - times[slots] > _MARKED_EVERY]
        if not len(unmarked):
            return
        with suppress(OSError), self._index_path.open("r+b", buffering=0) as file:
            if file.read(_TOKEN_BYTES) == index.token:
                for slot in unmarked.tolist():
                    os.pwrite(file.fileno(), np.uint64(now).tobytes(), _TOKEN_BYTES + slot * _RECORD.itemsize + _USED_AT)
        times[unmarked] = int(now)

    def _locked(self) -> FileLock:
        return FileLock(self.folder / ".lock", timeout=_LOCK_SECONDS)


def _opened(path: Path) -> BinaryIO:
    """To be read and written; made if it is not there."""
    return open(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))


def _num_records(file: BinaryIO) -> int:
    """Whole ones: behind them may be a part of one whose writer was killed."""
    return max(0, os.fstat(file.fileno()).st_size - _TOKEN_BYTES) // _RECORD.itemsize
