import hashlib
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preference.labelling.prompts import Prompt, Turn, transcript
from preference.reward_model.feature_cache import FeatureCache, prune_features
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.feature_store import FeatureStore
from tests.support.tolerance import FEATURES, assert_close

CPU = torch.device("cpu")
DAY = 86400
PROMPTS = ["Why?", "Tell me about cats and the moon.", "שלום 👩‍👩‍👧", "0123456789 " * 30, "Why?"]
ANSWERS = ["Because.", "The cat sat on the mat. " * 10, "שלום", "No.", "So."]
ROW = np.arange(9, dtype=np.float32)
ROW_BYTES = 60  # with its record

Make = Callable[[], FeatureExtractor]


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Make:
    """Makes extractors that share this test's cache, as two processes do."""
    return lambda: FeatureExtractor(FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=64), model_dir=tmp_path, device=CPU)


def stores(model_dir: Path) -> list[FeatureStore]:
    return [FeatureStore(path.parent, path.stem) for path in sorted((model_dir / "features").glob("*/*.index"))]


def num_kept(model_dir: Path) -> int:
    return sum(len(store.used()) for store in stores(model_dir))


def keep(model_dir: Path, answer: str, *, days_unused: float = 0, key: str = "key") -> None:
    """A feature that was used that long ago."""
    then = time.time() - days_unused * DAY
    FeatureCache(model_dir, key, size=ROW.size, now=lambda: then).keep([("Why?", answer)], [ROW])


def read(model_dir: Path, answer: str, *, key: str = "key", **options: Any) -> bool:
    (is_there,) = FeatureCache(model_dir, key, size=ROW.size, **options).read([("Why?", answer)], into=[np.zeros_like(ROW)])
    return bool(is_there)


def has(model_dir: Path, answer: str, *, key: str = "key") -> bool:
    return FeatureCache(model_dir, key, size=ROW.size).has("Why?", answer)


def earlier_file(model_dir: Path, answer: str, *, days_unused: float = 0) -> Path:
    """A feature as an earlier build kept it, of 40 bytes, that was used that long ago."""
    digest = hashlib.sha256(f"2|4|Why?|{answer}".encode()).hexdigest()
    path = model_dir / "features" / "key" / digest[:2] / f"{digest[2:]}.f32"
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = zlib.crc32(ROW.tobytes(), zlib.crc32(path.name.encode())).to_bytes(4)
    path.write_bytes(ROW.tobytes() + checksum)
    used = time.time() - days_unused * DAY
    os.utime(path, (used, used))
    return path


def days_unused(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / DAY


# Through an extractor


def test_cached_features_are_the_computed_ones_to_the_bit(make: Make, tmp_path: Path) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    assert num_kept(tmp_path) == 5
    assert torch.equal(make().features(PROMPTS, ANSWERS), computed)


def test_what_is_cached_is_not_computed_again_and_the_rest_is(make: Make, tmp_path: Path) -> None:
    extractor = make()
    extractor.features(["Why?"], ["Because."])
    mark = np.arange(extractor.size, dtype=np.float32)
    FeatureCache(tmp_path, extractor.recipe.key(), size=extractor.size).keep([("Why?", "Because.")], [mark])
    rows = make().features(["What?", "Why?"], ["That.", "Because."])
    assert torch.equal(rows[1], torch.from_numpy(mark))
    assert not torch.equal(rows[0], rows[1])
    assert num_kept(tmp_path) == 3, "each is kept once, beside the mark"


def test_features_that_an_earlier_build_kept_of_a_role_marker_are_not_read(make: Make, tmp_path: Path) -> None:
    """It read them as control tokens. All other features of it are as good as ever."""
    extractor, marked = make(), ("Why?<|im_end|>", "Because.<|im_start|>user")
    mark = np.arange(extractor.size, dtype=np.float32)
    FeatureCache(tmp_path, extractor.recipe.key(), size=extractor.size).keep([marked], [mark])
    assert not extractor.knows(*marked)

    (computed,) = extractor.features([marked[0]], [marked[1]])

    assert not torch.equal(computed, torch.from_numpy(mark))
    assert make().knows(*marked) and torch.equal(make().features([marked[0]], [marked[1]])[0], computed)


def test_white_space_round_an_answer_does_not_matter_and_where_a_prompt_ends_does(make: Make, tmp_path: Path) -> None:
    extractor = make()
    extractor.features(["Why? ", "Why?"], ["Because.", " Because."])
    assert num_kept(tmp_path) == 2
    extractor.features(["Why?"], ["Because.\n"])
    assert num_kept(tmp_path) == 2
    extractor.features(["Why?B"], ["ecause."])
    assert num_kept(tmp_path) == 3


def test_each_turn_of_a_conversation_counts_and_what_says_the_same_as_one_text_is_another_prompt(
    make: Make, tmp_path: Path
) -> None:
    asked, answered, more = Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another.")
    prompts: list[Prompt] = [
        (asked, answered, more), (asked, Turn("assistant", "Elm."), more), (Turn("user", "Oak."), more), transcript((asked, answered, more)),
        more.text,
    ]  # fmt: skip
    features = make().features(prompts, ["Ash."] * len(prompts))

    assert len({tuple(row.tolist()) for row in features}) == len(prompts) == num_kept(tmp_path)
    assert all(make().knows(prompt, " Ash.") for prompt in prompts)
    assert torch.equal(make().features(prompts, ["Ash."] * len(prompts)), features)


def test_damaged_features_are_computed_again_and_that_is_logged_once(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    (path,) = (tmp_path / "features").glob("*/*.rows")
    path.write_bytes(bytes(path.stat().st_size))
    extractor = make()
    again = extractor.features(PROMPTS, ANSWERS)
    assert_close(again, computed, within=FEATURES)
    logged = [record.getMessage() for record in caplog.records if record.name == "pairloop.reward_model"]
    assert logged == [
        f"a cached feature in {path.parent} is damaged; it is computed again, and so are others like it, which are not logged"
    ]
    assert torch.equal(make().features(PROMPTS, ANSWERS), again), "read back"


def test_deleted_files_and_a_deleted_folder_are_computed_again(make: Make, tmp_path: Path) -> None:
    extractor = make()
    computed = extractor.features(PROMPTS, ANSWERS)
    for path in [path for path in (tmp_path / "features").rglob("*") if path.is_file()]:
        path.unlink()
        assert_close(extractor.features(PROMPTS, ANSWERS), computed, within=FEATURES)
    shutil.rmtree(tmp_path / "features")
    assert_close(extractor.features(PROMPTS, ANSWERS), computed, within=FEATURES)
    assert num_kept(tmp_path) == 5


def test_a_cache_that_cannot_be_written_costs_speed_and_not_the_answer(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extractor = make()
    computed = extractor.features(["Why?"], ["Because."])
    shutil.rmtree(tmp_path / "features")
    (tmp_path / "features").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert_close(extractor.features(["Why?"], ["Because."]), computed, within=FEATURES)
    assert any(message.startswith("features cannot be kept in ") for message in caplog.messages)


def test_a_batch_is_kept_as_soon_as_it_is_computed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed among thousands has those that were done."""
    extractor, num_before = make(), []
    assert extractor.shares_prompts, "found by computing, before passes are counted"
    extractor._most_tokens = 1
    forward = extractor._forward

    def counting(rows: Any) -> Any:
        num_before.append(num_kept(tmp_path))
        return forward(rows)

    monkeypatch.setattr(extractor, "_forward", counting)
    extractor.features(PROMPTS, ANSWERS)
    assert num_before[0] == 0 and num_before[1:] == sorted(set(num_before[1:])) and num_kept(tmp_path) == 5


def test_threads_of_two_extractors_on_one_cache_agree(make: Make) -> None:
    alone = make().features(PROMPTS, ANSWERS)
    one, other = make(), make()
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(extractor.features, [*PROMPTS, f"{n // 4}"], [*ANSWERS, "x"])
            for n in range(16)
            for extractor in (one, other)
        ]
    rows = [call.result() for call in calls]
    for n, row in enumerate(rows):
        assert torch.equal(row[:5], alone)
        assert_close(row[5], rows[n // 8 * 8][5], within=FEATURES)


# What an earlier build kept in a file each


def test_an_earlier_builds_features_are_read_and_move_into_the_store(tmp_path: Path) -> None:
    paths = {answer: earlier_file(tmp_path, answer) for answer in ("Because.", "So.", "No.")}
    cache, into = FeatureCache(tmp_path, "key", size=ROW.size), np.zeros((3, ROW.size), np.float32)
    assert cache.has("Why?", "Because.") and not cache.has("Why?", "Other.")
    texts: list[tuple[Prompt, str]] = [("Why?", "Because."), ("Why?", "Other."), ("Why?", "So.")]

    assert cache.read(texts, into=list(into)).tolist() == [True, False, True]

    np.testing.assert_array_equal(into, [ROW, np.zeros_like(ROW), ROW])
    assert [path.exists() for path in paths.values()] == [False, False, True]
    assert num_kept(tmp_path) == 2 and read(tmp_path, "So.")


def test_a_damaged_file_of_an_earlier_build_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = earlier_file(tmp_path, "Because.").read_bytes()
    flipped = [bytes(byte ^ (1 << bit) * (place == at) for place, byte in enumerate(whole)) for at in range(40) for bit in (0, 7)]
    for content in [*flipped, b"", whole[:-1], whole + b"x"]:
        earlier_file(tmp_path, "Because.").write_bytes(content)
        assert not read(tmp_path, "Because.")
    assert num_kept(tmp_path) == 0
    assert "is damaged; it is computed again" in caplog.text


def test_an_earlier_builds_features_that_cannot_move_are_read_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = earlier_file(tmp_path, "Because.")
    (tmp_path / "features" / "key" / ".lock").mkdir()  # so that nobody can hold it
    assert read(tmp_path, "Because.") and path.exists()


# Marks of use


def test_a_process_that_runs_for_weeks_goes_on_marking_what_it_reads(tmp_path: Path) -> None:
    keep(tmp_path, "asked daily", days_unused=9)
    clock = [time.time() - 9 * DAY]
    cache = FeatureCache(tmp_path, "key", size=ROW.size, now=lambda: clock[0])
    for days, expected in ((0, 9), (2, 7)):
        clock[0] += days * DAY
        assert cache.read([("Why?", "asked daily")], into=[np.zeros_like(ROW)]).all()
        (used,) = stores(tmp_path)[0].used()
        assert (time.time() - used) / DAY == pytest.approx(expected, abs=0.1)


# A bound on the size


def test_nothing_is_deleted_up_to_the_bound(tmp_path: Path) -> None:
    for n in range(10):
        keep(tmp_path, str(n), days_unused=n)
    assert prune_features(tmp_path, most_bytes=10 * ROW_BYTES) == 0
    assert num_kept(tmp_path) == 10


def test_above_the_bound_the_longest_unused_features_are_deleted_until_a_tenth_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of all recipes together, and those that an earlier build kept."""
    for days in [3, 9, 0, 7, 1, 8, 2, 6, 4]:
        keep(tmp_path, str(days), days_unused=days, key=f"key-{days % 2}")
    earlier = [earlier_file(tmp_path, str(days), days_unused=days) for days in (8.5, 5)]
    size = 9 * ROW_BYTES + 2 * 40
    with caplog.at_level(logging.INFO, logger="pairloop.reward_model"):
        assert prune_features(tmp_path, most_bytes=size - 1) == 2
        assert prune_features(tmp_path, most_bytes=size - 1) == 0
    assert {days for days in (9, 8, 7, 6, 4, 3, 2, 1, 0) if not has(tmp_path, str(days), key=f"key-{days % 2}")} == {9}
    assert [path.exists() for path in earlier] == [False, True]
    assert caplog.messages == ["deleted 2 cached features that were unused for the longest time (FEATURES_MB)"]


def test_features_that_were_read_stay_longer_than_others(tmp_path: Path) -> None:
    for n in range(5):
        keep(tmp_path, str(n), days_unused=20 - n)
    assert read(tmp_path, "0")
    assert prune_features(tmp_path, most_bytes=int(2.5 * ROW_BYTES)) == 3
    assert [n for n in range(5) if has(tmp_path, str(n))] == [0, 4]


def test_a_bound_of_nothing_empties_the_cache_and_the_next_reader_computes(make: Make, tmp_path: Path) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    assert prune_features(tmp_path, most_bytes=0) == 5
    assert num_kept(tmp_path) == 0
    assert_close(make().features(PROMPTS, ANSWERS), computed, within=FEATURES)


def test_an_earlier_builds_killed_writers_file_counts_and_is_deleted_after_a_day(tmp_path: Path) -> None:
    left = {days: earlier_file(tmp_path, f"killed {days}", days_unused=days) for days in (0.5, 5)}
    left = {days: path.rename(path.with_name(f".{path.name}-0123456789abcdef")) for days, path in left.items()}
    used = [earlier_file(tmp_path, str(n), days_unused=0.1) for n in range(2)]
    assert prune_features(tmp_path, most_bytes=120) == 0
    assert [path.exists() for path in left.values()] == [True, False]
    assert prune_features(tmp_path, most_bytes=119) == 1
    assert not left[0.5].exists()
    assert all(path.exists() for path in used)


def test_there_may_be_no_cache_yet(tmp_path: Path) -> None:
    assert prune_features(tmp_path, most_bytes=0) == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_features_is_ever_deleted(tmp_path: Path) -> None:
    beside = [tmp_path / "version.f32", tmp_path / "embedded" / "x-9.index", tmp_path / "features.f32" / "x.f32"]
    inside = [tmp_path / "features" / "key" / "README", tmp_path / "features" / "key" / "notes.index"]
    for path in [*beside, *inside]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    (tmp_path / "features" / "elsewhere").symlink_to(tmp_path / "embedded")
    (tmp_path / "features" / "link.f32").symlink_to(tmp_path / "version.f32")
    keep(tmp_path, "a feature", days_unused=1)
    earlier_file(tmp_path, "another", days_unused=1)
    assert prune_features(tmp_path, most_bytes=0) == 3  # the features, and the link but not what it names
    assert all(path.read_bytes() == b"x" * 1000 for path in [*beside, *inside])


def test_a_file_that_another_process_deletes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted, oldest, newer = (
        earlier_file(tmp_path, name, days_unused=days) for name, days in (("gone", 9), ("oldest", 8), ("newer", 7))
    )
    (tmp_path / "features" / "vanished.f32").symlink_to(
        tmp_path / "nowhere"
    )  # there when listed, deleted when asked for its size
    unlink = Path.unlink

    def unlink_after_another(path: Path, missing_ok: bool = False) -> None:
        if deleted.exists():
            unlink(deleted)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_after_another)
    assert prune_features(tmp_path, most_bytes=50) == 1
    assert not oldest.exists()
    assert newer.exists()


def test_a_folder_that_another_process_deletes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    going, staying = earlier_file(tmp_path, "going", days_unused=1), earlier_file(tmp_path, "staying", days_unused=2)
    assert going.parent != staying.parent
    scandir = os.scandir

    def scandir_after_another(path: Any) -> Iterator[os.DirEntry[str]]:
        if Path(path) == going.parent and going.exists():
            going.unlink()
            going.parent.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_after_another)
    assert prune_features(tmp_path, most_bytes=0) == 1
    assert not staying.exists()


def test_several_processes_may_prune_and_read_at_once(tmp_path: Path) -> None:
    for n in range(60):
        keep(tmp_path, str(n), days_unused=0.9 + n / 1000)
    with ThreadPoolExecutor(4) as pool:
        pruned = [pool.submit(prune_features, tmp_path, most_bytes=25 * ROW_BYTES) for _ in range(4)]
        reads = [pool.submit(read, tmp_path, str(n)) for n in range(60)]
    assert sum(call.result() for call in pruned) == 38
    assert all(call.result() for call in reads[:22])
    assert [has(tmp_path, str(n)) for n in range(60)] == [True] * 22 + [False] * 38  # 22 x 60 <= 1350


def test_a_cache_that_cannot_be_cut_is_left_and_that_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(tmp_path, "a feature")
    (tmp_path / "features" / ".lock").mkdir()
    assert prune_features(tmp_path, most_bytes=0) == 0
    assert num_kept(tmp_path) == 1
    assert caplog.messages == [f"the features in {tmp_path / 'features'} cannot be cut to FEATURES_MB (Is a directory)"]


def test_a_store_from_which_nothing_is_deleted_is_not_written_anew(tmp_path: Path) -> None:
    """Its readers would read its whole index again."""
    keep(tmp_path, "new", key="one")
    keep(tmp_path, "old", days_unused=3, key="other")
    index = tmp_path / "features" / "one" / f"float32-{ROW.size}.index"
    before = index.read_bytes()
    assert prune_features(tmp_path, most_bytes=2 * ROW_BYTES - 1) == 1
    assert index.read_bytes() == before


def test_a_store_that_cannot_be_cut_keeps_no_other_from_being_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("one", "other"):
        keep(tmp_path, "a feature", key=key)
    refusing = tmp_path / "features" / "one"
    (refusing / ".lock").unlink()
    (refusing / ".lock").mkdir()
    file = earlier_file(tmp_path, "another feature")
    assert prune_features(tmp_path, most_bytes=0) == 2
    assert (num_kept(tmp_path), has(tmp_path, "a feature", key="one"), file.exists()) == (1, True, False)
    assert caplog.messages == [f"the features in {refusing} cannot be cut to FEATURES_MB (Is a directory)"]
