"""The files into which gunicorn's workers count, as prometheus-client's multiprocess mode lays them out.

A worker that ends adds its counts to one file that all who ended share, so a thousand restarts make no thousand files.
Covered: a worker that is killed at any time, or is just starting; a scrape while a worker ends.
"""

import json
import logging
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from preference.atomic_files import replacing

logger = logging.getLogger("pairloop.monitoring")
_ENDED = 0  # stands for the process id of all workers that ended
_SMALLEST_BYTES, _BYTES_BESIDE_A_KEY = 1 << 16, 40  # of such a file: a key's length, padding, value, time, and some to spare


class WorkerCounts:
    """The folder of one server's workers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Iterable[Metric]:
        """What all workers counted, summed."""
        with self._settled():
            return self._merge("*.db")

    def gauges(self) -> Iterable[Metric]:
        """The gauges alone, which never move from file to file, so that nobody waits here."""
        return self._merge("gauge_livesum_*.db")

    def end(self, pid: int) -> None:
        """Drops the gauges of a worker that ended, and adds its counts to those of the others that ended."""
        with self._settled():
            mark_process_dead(pid, str(self._folder))
            for kind in ("counter", "histogram"):
                path = self._folder / f"{kind}_{pid}.db"
                if path.exists():
                    try:
                        self._add(path, self._folder / f"{kind}_{_ENDED}.db")
                    except OSError as error:  # the disk is full; the file is read where it is
                        logger.warning("%s stays (%s)", path, error.strerror)

    def _merge(self, pattern: str) -> Iterable[Metric]:
        # prometheus-client creates a file, then gives it its size, and cannot read an empty one.
        return MultiProcessCollector.merge([str(path) for path in self._folder.glob(pattern) if _size(path)])  # type: ignore[no-any-return]

    def _add(self, path: Path, ended: Path) -> None:
        counts: defaultdict[str, float] = defaultdict(float)
        files = [file for file in (ended, path) if file.exists()]
        for file in files:
            try:
                counts_of_file = {
                    key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)) if json.loads(key)
                }
            except (RuntimeError, ValueError, struct.error) as error:
                logger.warning("the counts in %s are damaged and lost (%s)", file, type(error).__name__)
                continue
            for key, value in counts_of_file.items():
                counts[key] += value
        with replacing(ended, is_durable=False) as temporary:
            with temporary.open("wb") as sums_file:  # all of it before it is mapped: a full disk would kill whoever writes to it
                size = sum(len(key.encode()) + _BYTES_BESIDE_A_KEY for key in counts)
                os.posix_fallocate(sums_file.fileno(), 0, max(size, _SMALLEST_BYTES))
            sums = MmapedDict(str(temporary))
            for key, value in counts.items():
                sums.write_value(key, value, 0.0)
            sums.close()
        path.unlink()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Nobody moves counts from file to file for the time of the `with`. Scrapes and ends of workers wait here, never a request."""
        lock = FileLock(self._folder / ".lock")
        try:
            lock.acquire(timeout=1, poll_interval=0.005)
        except OSError as error:  # whoever holds it was halted; the worst is that a scrape counts one worker twice
            logger.warning("%s cannot be locked (%s); going on without", self._folder, error)
        try:
            yield
        finally:
            lock.release()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its worker ended since the folder was listed
        return 0
