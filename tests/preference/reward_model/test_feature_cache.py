import logging
import os
import shutil
import time
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
from tests.support.tolerance import FEATURES, assert_close

CPU = torch.device("cpu")
DAY = 86400
PROMPTS = ["Why?", "Tell me about cats and the moon.", "שלום 👩‍👩‍👧", "0123456789 " * 30, "Why?"]
ANSWERS = ["Because.", "The cat sat on the mat. " * 10, "שלום", "No.", "So."]
ROW = np.arange(9, dtype=np.float32)  # 40 bytes with its checksum

Make = Callable[[], FeatureExtractor]


@pytest.fixture
def make(tiny_base: Path, tmp_path: Path) -> Make:
    """Makes extractors that share this test's cache, as two processes do."""
    return lambda: FeatureExtractor(FeatureRecipe(str(tiny_base), layers=(1, 3), max_tokens=64), model_dir=tmp_path, device=CPU)


def cached_files(model_dir: Path) -> list[Path]:
    return sorted(path for path in (model_dir / "features").rglob("*") if path.is_file())


def kept(model_dir: Path, answer: str, *, days_unused: float, key: str = "key") -> Path:
    """A cached feature of 40 bytes that was used that long ago."""
    before = set(cached_files(model_dir))
    FeatureCache(model_dir, key).keep("Why?", answer, ROW)
    (path,) = set(cached_files(model_dir)) - before
    used = time.time() - days_unused * DAY
    os.utime(path, (used, used))
    return path


def read(model_dir: Path, answer: str, **options: Any) -> bool:
    return FeatureCache(model_dir, "key", **options).read("Why?", answer, into=np.zeros_like(ROW))


def days_unused(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / DAY


# Through an extractor


def test_cached_features_are_the_computed_ones_to_the_bit(make: Make, tmp_path: Path) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    assert len(cached_files(tmp_path)) == 5
    assert torch.equal(make().features(PROMPTS, ANSWERS), computed)


def test_what_is_cached_is_not_computed_again_and_the_rest_is(make: Make, tmp_path: Path) -> None:
    extractor = make()
    extractor.features(["Why?"], ["Because."])
    mark = np.arange(extractor.size, dtype=np.float32)
    FeatureCache(tmp_path, extractor.recipe.key()).keep("Why?", "Because.", mark)
    rows = make().features(["What?", "Why?"], ["That.", "Because."])
    assert torch.equal(rows[1], torch.from_numpy(mark))
    assert not torch.equal(rows[0], rows[1])
    assert len(cached_files(tmp_path)) == 2


def test_features_that_an_earlier_build_kept_of_a_role_marker_are_not_read(make: Make, tmp_path: Path) -> None:
    """It read them as control tokens. All other features of it are as good as ever."""
    extractor, marked = make(), ("Why?<|im_end|>", "Because.<|im_start|>user")
    mark = np.arange(extractor.size, dtype=np.float32)
    earlier = FeatureCache(tmp_path, extractor.recipe.key())
    earlier.keep(*marked, mark)
    assert not extractor.knows(*marked)

    (computed,) = extractor.features([marked[0]], [marked[1]])

    assert not torch.equal(computed, torch.from_numpy(mark))
    assert make().knows(*marked) and torch.equal(make().features([marked[0]], [marked[1]])[0], computed)


def test_white_space_round_an_answer_does_not_matter_and_where_a_prompt_ends_does(make: Make, tmp_path: Path) -> None:
    extractor = make()
    extractor.features(["Why? ", "Why?"], ["Because.", " Because."])
    assert len(cached_files(tmp_path)) == 2
    extractor.features(["Why?"], ["Because.\n"])
    assert len(cached_files(tmp_path)) == 2
    extractor.features(["Why?B"], ["ecause."])
    assert len(cached_files(tmp_path)) == 3


def test_each_turn_of_a_conversation_counts_and_what_says_the_same_as_one_text_is_another_prompt(
    make: Make, tmp_path: Path
) -> None:
    asked, answered, more = Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another.")
    prompts: list[Prompt] = [
        (asked, answered, more), (asked, Turn("assistant", "Elm."), more), (Turn("user", "Oak."), more), transcript((asked, answered, more)),
        more.text,
    ]  # fmt: skip
    features = make().features(prompts, ["Ash."] * len(prompts))

    assert len({tuple(row.tolist()) for row in features}) == len(prompts) == len(cached_files(tmp_path))
    assert all(make().knows(prompt, " Ash.") for prompt in prompts)
    assert torch.equal(make().features(prompts, ["Ash."] * len(prompts)), features)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "truncated in a number": lambda content: content[:-7],
    "truncated between numbers": lambda content: content[:-4],
    "too long": lambda content: content + content,
    "no numbers": lambda content: b"\xff" * len(content),
    "an endless number": lambda content: content[:-4] + np.float32(np.inf).tobytes(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_computed_again_and_written_anew(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    computed = make().features(["Why?"], ["Because."])
    (path,) = cached_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = make().features(["Why?"], ["Because."])
    assert_close(again, computed, within=FEATURES)
    logged = [record.getMessage() for record in caplog.records if record.name == "pairloop.reward_model"]
    assert logged == [
        f"the cached feature {path.name} is damaged; it is computed again, and so are others like it, which are not logged"
    ]
    assert torch.equal(make().features(["Why?"], ["Because."]), again), "read back"
    assert len(logged) == 1


def test_a_deleted_file_or_folder_is_computed_again(make: Make, tmp_path: Path) -> None:
    extractor = make()
    computed = extractor.features(PROMPTS, ANSWERS)
    cached_files(tmp_path)[0].unlink()
    assert_close(extractor.features(PROMPTS, ANSWERS), computed, within=FEATURES)
    shutil.rmtree(tmp_path / "features")
    assert_close(extractor.features(PROMPTS, ANSWERS), computed, within=FEATURES)
    assert len(cached_files(tmp_path)) == 5


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


def test_no_temporary_file_stays_behind(make: Make, tmp_path: Path) -> None:
    make().features(PROMPTS, ANSWERS)
    assert len(cached_files(tmp_path)) == 5
    assert not [path for path in cached_files(tmp_path) if path.name.startswith(".")]


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


# Marks of use


def test_reading_a_feature_marks_it_as_used_once_a_day(tmp_path: Path) -> None:
    old, recent = kept(tmp_path, "old", days_unused=9), kept(tmp_path, "recent", days_unused=0.5)
    assert read(tmp_path, "old")
    assert read(tmp_path, "recent")
    assert days_unused(old) < 0.1
    assert days_unused(recent) == pytest.approx(0.5, abs=0.1)


def test_a_process_that_runs_for_weeks_goes_on_marking_what_it_reads(tmp_path: Path) -> None:
    path = kept(tmp_path, "asked daily", days_unused=9)
    clock = [time.time() - 9 * DAY]
    cache = FeatureCache(tmp_path, "key", now=lambda: clock[0])
    assert cache.read("Why?", "asked daily", into=np.zeros_like(ROW))
    assert days_unused(path) > 8
    clock[0] += 2 * DAY
    assert cache.read("Why?", "asked daily", into=np.zeros_like(ROW))
    assert days_unused(path) < 1


def test_a_feature_that_cannot_be_marked_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, "of another user", days_unused=9)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "utime", refuse)
    assert read(tmp_path, "of another user")


# A bound on the size


def test_nothing_is_deleted_up_to_the_bound(tmp_path: Path) -> None:
    for n in range(10):
        kept(tmp_path, str(n), days_unused=n)
    assert prune_features(tmp_path, most_bytes=400) == 0
    assert len(cached_files(tmp_path)) == 10


def test_above_the_bound_the_longest_unused_features_are_deleted_until_a_tenth_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = [3, 9, 0, 7, 1, 8, 2, 6, 4, 5]
    paths = {days: kept(tmp_path, str(days), days_unused=days, key=f"key-{days % 2}") for days in order}
    with caplog.at_level(logging.INFO, logger="pairloop.reward_model"):
        assert prune_features(tmp_path, most_bytes=399) == 2  # 8 x 40 <= 359
    assert {days for days, path in paths.items() if not path.exists()} == {9, 8}
    assert caplog.messages == ["deleted 2 cached features that were unused for the longest time (FEATURES_MB)"]
    assert prune_features(tmp_path, most_bytes=399) == 0


def test_features_that_were_read_stay_longer_than_others(tmp_path: Path) -> None:
    paths = {n: kept(tmp_path, str(n), days_unused=20 - n) for n in range(5)}
    assert read(tmp_path, "0")
    assert prune_features(tmp_path, most_bytes=100) == 3
    assert {n for n, path in paths.items() if path.exists()} == {0, 4}


def test_a_bound_of_nothing_empties_the_cache_and_the_next_reader_computes(make: Make, tmp_path: Path) -> None:
    computed = make().features(PROMPTS, ANSWERS)
    assert prune_features(tmp_path, most_bytes=0) == 5
    assert cached_files(tmp_path) == []
    assert_close(make().features(PROMPTS, ANSWERS), computed, within=FEATURES)


def test_a_killed_writers_file_counts_and_is_deleted_after_a_day(tmp_path: Path) -> None:
    left = {days: kept(tmp_path, f"killed {days}", days_unused=days) for days in (0.5, 5)}
    left = {days: path.rename(path.with_name(f".{path.name}-0123456789abcdef")) for days, path in left.items()}
    used = [kept(tmp_path, str(n), days_unused=0.1) for n in range(2)]
    assert prune_features(tmp_path, most_bytes=120) == 0
    assert [path.exists() for path in left.values()] == [True, False]
    assert prune_features(tmp_path, most_bytes=119) == 1
    assert not left[0.5].exists()
    assert all(path.exists() for path in used)


def test_there_may_be_no_cache_yet(tmp_path: Path) -> None:
    assert prune_features(tmp_path, most_bytes=0) == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_features_is_ever_deleted(tmp_path: Path) -> None:
    beside = [tmp_path / "version.f32", tmp_path / "embedded" / "x.f32", tmp_path / "features.f32" / "x.f32"]
    inside = [tmp_path / "features" / "key" / "README", tmp_path / "features" / ".lock"]
    for path in [*beside, *inside]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    (tmp_path / "features" / "elsewhere").symlink_to(tmp_path / "embedded")
    (tmp_path / "features" / "link.f32").symlink_to(tmp_path / "version.f32")
    kept(tmp_path, "a feature", days_unused=1)
    assert prune_features(tmp_path, most_bytes=0) == 2  # the feature, and the link but not what it names
    assert all(path.read_bytes() == b"x" * 1000 for path in [*beside, *inside])


def test_a_file_that_another_process_deletes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted, oldest, newer = (kept(tmp_path, name, days_unused=days) for name, days in (("gone", 9), ("oldest", 8), ("newer", 7)))
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
    going, staying = kept(tmp_path, "going", days_unused=1), kept(tmp_path, "staying", days_unused=2)
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
    paths = [kept(tmp_path, str(n), days_unused=0.9 + n / 1000) for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        pruned = [pool.submit(prune_features, tmp_path, most_bytes=1000) for _ in range(4)]
        reads = [pool.submit(read, tmp_path, str(n)) for n in range(60)]
    assert sum(call.result() for call in pruned) == 38
    assert all(call.result() for call in reads[:22])
    assert [path.exists() for path in paths] == [True] * 22 + [False] * 38  # 22 x 40 <= 900
