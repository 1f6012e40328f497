import errno
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from preference.reward_model.feature_store import FeatureStore
from tests.support.small_disk import Disk, small_disk

SIZE = 100
NAME = f"float32-{SIZE}"
NOW, DAY = 2e9, 86_400.0
RECORD_BYTES, TOKEN_BYTES = 24, 8


def keys_of(*numbers: int) -> NDArray[np.uint64]:
    """The same for the same number, and in no order."""
    return np.array([np.random.default_rng(n).integers(2**63, size=2) for n in numbers], np.uint64)


def row_of(number: int) -> NDArray[np.float32]:
    return np.random.default_rng([number]).standard_normal(SIZE, np.float32)


def keep(folder: Path, *numbers: int, now: float = NOW) -> FeatureStore:
    store = FeatureStore(folder, NAME)
    store.keep(keys_of(*numbers), [row_of(n) for n in numbers], now=now)
    return store


def found(store: FeatureStore, *numbers: int, now: float = NOW) -> list[int]:
    """Which of them are there. Each row that is there is checked, and each that is not is 0."""
    into = np.zeros((len(numbers), SIZE), np.float32)
    is_whole, _ = store.read(keys_of(*numbers), into=list(into), now=now)
    for number, row, whole in zip(numbers, into, is_whole, strict=True):
        np.testing.assert_array_equal(row, row_of(number) if whole else 0)
    return [number for number, whole in zip(numbers, is_whole, strict=True) if whole]


def num_damaged(store: FeatureStore, *numbers: int) -> int:
    return store.read(keys_of(*numbers), into=list(np.zeros((len(numbers), SIZE), np.float32)), now=NOW)[1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_rows_are_read_back_to_the_bit_in_whatever_order_they_are_asked_for(tmp_path: Path) -> None:
    numbers = list(range(1200))  # more than one call of the system takes
    for start in range(0, 1200, 7):
        keep(tmp_path, *numbers[start : start + 7])
    random.Random(0).shuffle(numbers)

    assert found(FeatureStore(tmp_path, NAME), *numbers, 5000) == numbers
    assert found(FeatureStore(tmp_path, NAME), *numbers[:100], numbers[3], 5000) == [*numbers[:100], numbers[3]]
    assert FeatureStore(tmp_path, NAME).has(keys_of(*numbers[:3], 5000)).tolist() == [True, True, True, False]


def test_nothing_is_there_before_the_first_row_and_reading_makes_no_file(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features", NAME)
    assert (found(store, 1, 2), store.has(keys_of(1)).tolist(), len(store.used())) == ([], [False], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_open_sees_what_others_add_and_the_latest_row_under_a_key_counts(tmp_path: Path) -> None:
    store = keep(tmp_path, 1, 2)
    assert found(store, 1, 2, 3) == [1, 2]
    keep(tmp_path, 3)
    assert found(store, 1, 2, 3) == [1, 2, 3]
    FeatureStore(tmp_path, NAME).keep(keys_of(2), [row_of(9)], now=NOW)
    into = np.zeros((1, SIZE), np.float32)
    assert store.read(keys_of(2), into=list(into), now=NOW)[0].all()
    np.testing.assert_array_equal(into[0], row_of(9))


def test_sizes_and_number_formats_lie_beside_each_other_and_never_mix(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    for name in (f"bfloat16-{SIZE}", f"float32-{SIZE + 1}"):
        assert not FeatureStore(tmp_path, name).has(keys_of(1)).any()


def test_a_flipped_bit_anywhere_costs_one_row_and_no_wrong_number(tmp_path: Path) -> None:
    keep(tmp_path, 1, 2, 3)
    for path, size in ((tmp_path / f"{NAME}.index", TOKEN_BYTES + 3 * RECORD_BYTES), (tmp_path / f"{NAME}.rows", 3 * 4 * SIZE)):
        whole = path.read_bytes()
        assert len(whole) == size
        for bit in range(0, 8 * size, 1 if path.suffix == ".index" else 7):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert len(found(FeatureStore(tmp_path, NAME), 1, 2, 3)) >= 2
        path.write_bytes(whole)
    assert found(FeatureStore(tmp_path, NAME), 1, 2, 3) == [1, 2, 3]


def test_a_damaged_row_is_counted_and_may_be_kept_anew(tmp_path: Path) -> None:
    store = keep(tmp_path, 1, 2)
    content = bytearray((tmp_path / f"{NAME}.rows").read_bytes())
    content[17] ^= 4
    (tmp_path / f"{NAME}.rows").write_bytes(content)
    assert (num_damaged(store, 1, 2), found(store, 1, 2)) == (1, [2])
    keep(tmp_path, 1)
    assert (num_damaged(store, 1, 2), found(store, 1, 2)) == (0, [1, 2])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut in a row": lambda content: content[: len(content) // 2 + 3],
    "cut in the last row": lambda content: content[:-1],
    "more behind it": lambda content: content + content[:50],
    "zeros": lambda content: bytes(len(content)),
    "ones": lambda content: b"\xff" * len(content),
    "noise": lambda content: random.Random(1).randbytes(len(content)),
    "turned round": lambda content: content[::-1],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("suffix", ["rows", "index"])
def test_whatever_becomes_of_a_file_no_wrong_number_is_read_and_rows_can_be_kept_again(
    suffix: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    is_open = keep(tmp_path, *range(5))
    path = tmp_path / f"{NAME}.{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    for store in (is_open, FeatureStore(tmp_path, NAME)):
        lost = set(range(5)) - set(found(store, *range(5)))
    keep(tmp_path, *sorted(lost), 9)
    for store in (is_open, FeatureStore(tmp_path, NAME)):
        assert found(store, *range(5), 9) == [*range(5), 9]


@pytest.mark.parametrize("suffixes", [["rows"], ["index"], ["rows", "index"]])
def test_files_that_are_deleted_meanwhile_cost_their_rows(suffixes: list[str], tmp_path: Path) -> None:
    store = keep(tmp_path, 1, 2)
    assert found(store, 1, 2) == [1, 2]
    for suffix in suffixes:
        (tmp_path / f"{NAME}.{suffix}").unlink()
    assert found(store, 1, 2) == []
    keep(tmp_path, 2, 3)
    assert found(store, 1, 2, 3) == [2, 3]


# Kills


def _keep_for_ever(folder: Path, first: int) -> None:
    while True:
        for start in range(first, first + 100, 5):
            keep(folder, *range(start, start + 5))


def _cut_for_ever(folder: Path) -> None:
    store = FeatureStore(folder, NAME)
    while True:
        store.drop_oldest(max(1, len(store.used()) - 60))


def test_of_writers_that_are_killed_no_wrong_row_and_no_damaged_one_remains(tmp_path: Path) -> None:
    """Two that add rows and one that drops them, each killed at some moment, five times."""
    spawn = get_context("spawn")
    for attempt in range(5):
        writers = [spawn.Process(target=_keep_for_ever, args=(tmp_path, first)) for first in (100, 200)]
        writers.append(spawn.Process(target=_cut_for_ever, args=(tmp_path,)))
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 30
        while not FeatureStore(tmp_path, NAME).has(keys_of(*range(100, 300))).any():
            assert time.monotonic() < deadline
        time.sleep(attempt / 50)
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        keep(tmp_path, *range(3))
        store = FeatureStore(tmp_path, NAME)
        there = [n for n, has in zip(range(300), store.has(keys_of(*range(300))), strict=True) if has]
        assert {0, 1, 2} <= set(there), "the one that drops rows may have left none of the killed writers'"
        assert found(store, *there) == there


def test_what_a_killed_writer_left_behind_is_written_over(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    for suffix, part in (("rows", b"x" * 150), ("index", b"y" * 11)):
        with (tmp_path / f"{NAME}.{suffix}").open("ab") as file:
            file.write(part)
    assert found(keep(tmp_path, 2), 1, 2) == [1, 2]
    assert (tmp_path / f"{NAME}.rows").stat().st_size == 2 * 4 * SIZE


def test_the_next_writer_cuts_off_rows_that_no_index_knows(tmp_path: Path) -> None:
    """Nobody would ever find them, and the bound on the size counts what is in the index."""
    keep(tmp_path, *range(50))
    (tmp_path / f"{NAME}.index").unlink()
    assert found(keep(tmp_path, 1), 1, 2) == [1]
    assert (tmp_path / f"{NAME}.rows").stat().st_size == 4 * SIZE


# Disks


def test_on_a_disk_that_fills_up_anywhere_what_was_kept_stays_and_nothing_half_is_added(disk: Disk) -> None:
    folder = disk.path / "features"
    keep(folder, *range(10))
    num_refused = 0
    for num_pages in (0, 1, 2, 3, 5, 8):
        disk.leave_free(num_pages * 4096)
        added = range(100 * (num_pages + 1), 100 * (num_pages + 1) + 40)  # 16 kB
        try:
            keep(folder, *added)
        except OSError as error:
            num_refused += 1
            assert error.strerror == "No space left on device"
        store = FeatureStore(folder, NAME)
        assert found(store, *range(10)) == list(range(10))
        assert found(store, *added) in ([], list(added))
        assert num_damaged(store, *added) == 0
    assert 0 < num_refused < 6
    disk.free()
    assert found(keep(folder, *range(50, 90)), *range(50, 90)) == list(range(50, 90))


def test_a_full_disk_is_relieved_by_what_is_dropped_though_a_new_index_takes_space(disk: Disk) -> None:
    for start in range(0, 4000, 400):  # the later, the younger
        keep(disk.path, *range(start, start + 400), now=NOW + start)
    disk.leave_free(0)
    before = (disk.path / f"{NAME}.rows").stat().st_size

    assert FeatureStore(disk.path, NAME).drop_oldest(2000) == 2000

    store = FeatureStore(disk.path, NAME)
    rest = found(store, *range(4000))
    assert num_damaged(store, *range(4000)) == 0
    num_youngest_lost = 4000 - 1 - rest[-1]
    assert 0 < num_youngest_lost < 400
    assert rest == list(range(2000 - num_youngest_lost, 4000 - num_youngest_lost))
    assert (disk.path / f"{NAME}.rows").stat().st_size == before / 2
    assert found(keep(disk.path, 5000), 5000) == [5000]


def test_from_a_disk_that_is_read_only_rows_are_read(disk: Disk) -> None:
    keep(disk.path, 1, 2, now=NOW - 9 * DAY)
    disk.make_read_only()
    assert found(FeatureStore(disk.path, NAME), 1, 2) == [1, 2]
    with pytest.raises(OSError, match="Read-only file system"):
        keep(disk.path, 3)


# Several processes


def _keep_each(folder: Path, first: int) -> None:
    for number in range(first, first + 60):
        keep(folder, number)
        assert found(FeatureStore(folder, NAME), number) == [number]


def test_processes_that_keep_at_once_lose_no_row_of_each_other(tmp_path: Path) -> None:
    spawn = get_context("spawn")
    writers = [
        spawn.Process(target=_keep_each, args=(tmp_path, first)) for first in (0, 30, 100, 200)
    ]  # two share half of theirs
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    numbers = [*range(90), *range(100, 160), *range(200, 260)]
    assert found(FeatureStore(tmp_path, NAME), *numbers) == numbers


def test_threads_read_and_keep_through_one_store(tmp_path: Path) -> None:
    store = keep(tmp_path, 0)

    def work(number: int) -> list[int]:
        store.keep(keys_of(number), [row_of(number)], now=NOW)
        return found(store, 0, number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(1, 41))) == [[0, n] for n in range(1, 41)]


def test_a_reader_is_right_while_another_process_drops_rows_and_adds_others(tmp_path: Path) -> None:
    for number in range(100):
        keep(tmp_path, number, now=NOW - 100 + number)
    reader = FeatureStore(tmp_path, NAME)
    for turn in range(20):
        assert found(reader, *range(100)) == list(range(100))[turn * 4 :]
        FeatureStore(tmp_path, NAME).drop_oldest(4)
        keep(tmp_path, *range(1000 + turn * 4, 1004 + turn * 4))  # as many rows as before, in other places
        assert num_damaged(reader, *range(100)) == 0


def test_rows_that_are_dropped_while_they_are_read_leave_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        keep(tmp_path, number, now=NOW + number)
    reader, others, path_open = FeatureStore(tmp_path, NAME), [FeatureStore(tmp_path, NAME)], Path.open

    def open_after_another(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".rows" and others:
            assert others.pop().drop_oldest(2) == 2  # row 2 is now where row 0 was
        return path_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_after_another)
    assert found(reader, 0, 1, 2) == [2]
    assert not others


# When rows were used, and which are dropped


def test_reading_a_row_marks_it_as_used_once_a_day(tmp_path: Path) -> None:
    keep(tmp_path, 1, now=NOW - 9 * DAY)
    keep(tmp_path, 2, now=NOW - DAY / 2)
    keep(tmp_path, 3, now=NOW - 9 * DAY)
    store = FeatureStore(tmp_path, NAME)
    assert found(store, 1, 2) == [1, 2]
    for reader in (store, FeatureStore(tmp_path, NAME)):
        assert reader.used().tolist() == [NOW, NOW - DAY / 2, NOW - 9 * DAY]
    assert found(store, 1, now=NOW + 2 * DAY) == [1]
    assert FeatureStore(tmp_path, NAME).used().tolist() == [NOW + 2 * DAY, NOW - DAY / 2, NOW - 9 * DAY]


def test_the_rows_that_were_unused_for_the_longest_time_are_dropped_and_the_files_are_cut(tmp_path: Path) -> None:
    order = [3, 9, 0, 7, 1, 8, 2, 6, 4, 5]
    for days in order:
        keep(tmp_path, days, now=NOW - days * DAY)
    store = FeatureStore(tmp_path, NAME)
    assert store.drop_oldest(4) == 4
    assert found(store, *range(10)) == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / f"{NAME}.rows").stat().st_size == 6 * 4 * SIZE
    assert (tmp_path / f"{NAME}.index").stat().st_size == TOKEN_BYTES + 6 * RECORD_BYTES
    assert store.drop_oldest(100) == 6
    assert found(store, *range(10)) == []
    assert found(keep(tmp_path, 4), 4) == [4]


def test_an_index_that_cannot_be_read_for_a_moment_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path_open = keep(tmp_path, 1, 2), Path.open

    def refused(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".index":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return path_open(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        assert found(store, 1, 2) == []
        assert store.drop_oldest(1) == 0
    assert found(store, 1, 2) == [1, 2]
