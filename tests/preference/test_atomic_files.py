"""A folder of versions that fails: kills at every step of writing it, a disk that is full or read-only, damage, a wrong clock."""

import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock

from backend.scoring.champion import Champions
from preference.atomic_files import replacing, write_whole
from preference.errors import RegistryError, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.promotions import PROMOTIONS
from preference.projects.versions import Versions
from preference.reward_model.feature_cache import FeatureCache
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.dying import ACTIONS, CARD, ROW
from tests.support.filling_house import House, warnings_of
from tests.support.lab import Lab, judged_tasks
from tests.support.small_disk import Disk, small_disk
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version
from trainer.__main__ import main
from trainer.daemon.due_rounds import DueRounds
from trainer.daemon.schedule import run_schedule
from trainer.rounds.outcome import Round

PAGE = 4096


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """Project 3 with the versions v1, which is the champion, and v2."""
    return with_two_versions(tmp_path / "models")


def with_two_versions(model_dir: Path, *, num_bytes: int = 5_000) -> ProjectFolder:
    (model_dir / "draft").mkdir(parents=True)
    (model_dir / "draft" / "model.safetensors").write_bytes(b"x" * num_bytes)
    folder = ProjectFolder(model_dir, 3)
    Versions(folder).promote(Versions(folder).publish(model_dir / "draft", CARD))
    Versions(folder).publish(model_dir / "draft", CARD)
    return folder


def names(folder: ProjectFolder) -> list[str]:
    return [version.partition("-")[0] for version in Versions(folder).all()]


def leftovers(model_dir: Path) -> list[str]:
    return [path.name for path in model_dir.rglob(".*") if path.name != ".lock"]


# Kills


@pytest.mark.parametrize("name", ACTIONS)
def test_a_kill_at_any_step_of_writing_leaves_nothing_half_and_the_next_process_does_it(
    name: str, folder: ProjectFolder, tmp_path: Path
) -> None:
    first, second = Versions(folder).all()
    if name == "rollback":
        Versions(folder).promote(second)
    was = Versions(folder).champion()
    command = [sys.executable, "-m", "tests.support.dying", name, str(folder.path.parent.parent)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    *killed, whole = [json.loads(line) for line in ran.stdout.splitlines()]

    assert len(killed) >= 10
    assert not any(told["is_over"] for told in killed)
    will_be = {"promote": second, "rollback": first}.get(name, was)
    assert whole["after"]["champion"] == will_be
    for told in [*killed, whole]:
        after, again = told["after"], told["again"]
        assert after["champion"] in (was, will_be), told
        assert all(after["versions"].values()), told
        assert list(after["versions"])[:2] == [first, second], told
        assert after["is_right"], told
        assert after["progress"] in ({}, {"tasks_left": 7}), told
        assert after["pairs"] in (None, 1), told
        assert all(again["versions"].values()), told
        assert again["leftovers"] == [], told
        assert (again["is_cached"], again["progress"]) == (whole["again"]["is_cached"], whole["again"]["progress"]), told
        assert again["attempts"] == 0, told
        assert again["champion"] == will_be, told


def test_what_killed_writers_left_is_swept_by_the_next_and_what_others_write_is_not(tmp_path: Path) -> None:
    left, written_now, other = (tmp_path / f"{name}-{uuid.uuid4().hex}" for name in (".champion", ".champion", ".other"))
    theirs = tmp_path / ".champion-of-mine"  # an export may go to any folder
    for path in (left, written_now, other, theirs):
        path.touch()
    for path in (left, other, theirs):
        os.utime(path, (0, 0))

    write_whole(tmp_path / "champion", "v1\n")

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["champion", written_now.name, other.name, theirs.name])


def test_what_raises_while_a_file_is_replaced_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    path.write_text("old")

    with pytest.raises(ValueError, match="half"), replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("half")

    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(path.name, "old")]


def test_a_private_file_is_its_user_s_alone_from_the_first_byte_on(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with replacing(path, is_private=True) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
        temporary.write_text("{}")

    assert path.stat().st_mode & 0o777 == 0o600


# A disk that is full or read-only


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_on_a_disk_that_fills_up_anywhere_in_a_publication_no_half_version_is_left(disk: Disk) -> None:
    folder = with_two_versions(disk.path, num_bytes=20 * PAGE)
    champion, num_refused = Versions(folder).champion(), 0

    for num_pages in range(40):
        disk.leave(num_pages * PAGE)
        num_before = len(Versions(folder).all())
        try:
            Versions(folder).publish(disk.path / "draft", CARD)
        except RegistryError as error:
            num_refused += 1
            assert "No space left on device" in str(error)
            assert "; free some space" in str(error)
            assert len(Versions(folder).all()) == num_before
        assert Versions(folder).champion() == champion
        assert leftovers(disk.path) == []

    assert 20 <= num_refused < 40
    disk.free()
    assert Versions(folder).publish(disk.path / "draft", CARD) == Versions(folder).all()[-1]


def test_on_a_full_disk_nothing_is_promoted_and_the_champion_is_whole(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    folder = with_two_versions(disk.path)
    first, second = Versions(folder).all()
    disk.leave(0)

    acts: list[Callable[[], object]] = [
        lambda: Versions(folder).promote(second), lambda: folder.write_host("a:1"), lambda: folder.write_progress({"a": 1})
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(RegistryError) as caught:
            act()
        assert str(caught.value) == f"MODEL_DIR is not writable at {folder.path} (No space left on device); free some space."
    assert Versions(folder).champion() == first
    assert leftovers(disk.path) == []
    command = ["promote", "--project", "3", second]
    told = CliRunner().invoke(main, command, env={"MODEL_DIR": str(disk.path)})
    assert (told.exit_code, told.output) == (1, f"Error: {caught.value}\n")

    disk.free()
    Versions(folder).promote(second)
    assert (Versions(folder).champion(), Versions(folder).rollback()) == (second, first)


class FullThen(ProjectFolder):
    """A project whose disk fills up as soon as a version is published."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.path, 7)
        self._disk = disk

    @contextmanager
    def locked(self) -> Iterator[None]:
        with super().locked():
            yield
        self._disk.leave(0)


def test_on_a_full_disk_a_round_that_ended_says_how_to_promote_its_version(
    disk: Disk, settings_for: SettingsFactory, tiny_base: Path
) -> None:
    lab = Lab(settings_for(model_dir=disk.path, reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5))
    lab.folder = FullThen(disk)

    ended = lab.round(judged_tasks(60))

    assert ended.outcome == "failed"
    assert ended.reason.endswith(f"Then `pairloop-trainer promote --project 7 {ended.version}`"), ended.reason
    assert Versions(lab.folder).all() == [ended.version]


def test_on_a_full_disk_features_are_computed_and_that_is_said_once(
    disk: Disk, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extractor = FeatureExtractor(FeatureRecipe(str(tiny_base), (2,), 64), model_dir=disk.path, device=torch.device("cpu"))
    expected = extractor.features(["Why?"] * 3, ["a", "b", "c"])
    disk.leave(0)

    for _ in range(2):
        assert extractor.features(["Why?"] * 3, ["d", "e", "f"]).shape == expected.shape
        assert torch.equal(extractor.features(["Why?"] * 3, ["a", "b", "c"]), expected)

    (said,) = [message for message in caplog.messages if "features cannot be kept" in message]
    assert said.endswith("(No space left on device), so they are computed each time")
    assert leftovers(disk.path) == []


def test_on_a_full_disk_tasks_are_answered_and_scored_all_the_same(
    disk: Disk, studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with House(studio, settings_for(model_dir=disk.path, label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        version = house.promote(tiny_base, weight=1)
        tasks = house.add_prompts(20)
        house.folder.request("fill")
        disk.leave(0)

        house.filler().look(threading.Event())

        assert house.is_answered(*tasks)
        assert house.versions(tasks) == [[version]] * 20
        (told,) = [message for message in warnings_of(caplog) if message.startswith(f"project {house.project_id}: ")]
        assert told.endswith("(No space left on device); free some space.")
        assert house.folder.read_progress() == {}


def test_a_read_only_model_dir_serves_its_champion_and_every_writer_says_so(
    disk: Disk, settings_for: SettingsFactory, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ProjectFolder(disk.path, 3)
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    disk.make_read_only()
    said = f"MODEL_DIR is not writable at {folder.path} (Read-only file system); mount it read-write."

    champions = Champions(disk.path, device=torch.device("cpu"))
    assert champions.of(3).refresh()
    serving = champions.of(3).serving
    assert serving is not None
    assert serving.model.score(["Why?"], ["A longer answer."]).isfinite().all()
    assert [folder.take_request(kind) for kind in ("train", "fill", "look")] == [False] * 3

    writers: list[Callable[[], object]] = [
        lambda: Versions(folder).promote(version), lambda: folder.request("train"), lambda: folder.write_host("a:1"),
        lambda: folder.write_progress({}),
    ]  # fmt: skip
    for write in writers:
        with pytest.raises(RegistryError) as caught:
            write()
        assert str(caught.value) == said
    (disk_draft := folder.path.parent / "draft")
    with pytest.raises(RegistryError, match="Read-only file system"):
        Versions(folder).publish(disk_draft, CARD)

    environ = {"MODEL_DIR": str(disk.path), "LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": KEY}
    for command, where in (["run"], disk.path), (["once"], folder.path):
        told = CliRunner().invoke(main, command, env=environ)
        assert told.exit_code == 1
        assert told.output == f"Error: {said.replace(str(folder.path), str(where))}\n"


def test_a_model_dir_that_becomes_read_only_under_a_trainer_is_said_once_and_the_trainer_goes_on(
    disk: Disk, studio: StudioDouble, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(model_dir=disk.path, label_studio_url=studio.url, label_studio_api_key=KEY)
    folder = ProjectFolder(disk.path, studio.add_project())
    folder.request("train")
    rounds: list[int] = []

    def run_round(project: Any, folder: ProjectFolder) -> Round:
        rounds.append(1)
        return Round("skipped", "few")

    watch = DueRounds(settings, run_round)
    disk.make_read_only()
    for _ in range(3):
        watch.look()
    assert rounds == []
    assert [message for message in caplog.messages if "Read-only file system" in message] == [
        f"project {folder.project_id}: MODEL_DIR is not writable at {folder.path / 'training'} (Read-only file system); mount it read-write."
    ]

    subprocess.run(["mount", "-o", "remount,rw", str(disk.path)], check=True)
    watch.look()
    assert rounds == [1]


# Damage


def test_no_damage_to_a_cached_feature_is_ever_taken_for_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, into = FeatureCache(tmp_path, "key"), np.zeros_like(ROW)
    cache.keep("Why?", "Because.", ROW)
    cache.keep("Why?", "Other.", ROW + 1)
    path, other = (path for path in sorted((tmp_path / "features").rglob("*.f32"), key=lambda p: p.read_bytes()))
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))] + [whole + b"\0", whole[:-4] + whole, other.read_bytes()]
    damaged += [os.urandom(len(whole)) for _ in range(20)] + [bytes(len(whole)), b"\xff" * len(whole)]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))

    for content in damaged:
        path.write_bytes(content)
        assert not cache.read("Why?", "Because.", into=into)
        assert not into.any()

    assert len(caplog.messages) == 1
    assert not FeatureCache(tmp_path, "key").read("Why?", "Because.", into=np.zeros(ROW.size + 1, np.float32))
    cache.keep("Why?", "Because.", ROW)
    assert cache.read("Why?", "Because.", into=into)
    assert (into == ROW).all()


@pytest.mark.parametrize("pointer", [b"\xff\xfe\x80", b"v1-20260101-000000\n", b"../../etc", b"v1\0\xc3", b"", b"\n\n"])
def test_a_damaged_pointer_is_a_version_that_is_not_there_for_everybody(
    pointer: bytes, tiny_base: Path, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5))
    folder = lab.folder
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    champions = Champions(lab.settings.model_dir, device=torch.device("cpu"))
    champions.of(7).refresh()
    (folder.path / "champion").write_bytes(pointer)

    for _ in range(2):
        assert not champions.of(7).refresh()
    serving = champions.of(7).serving
    assert serving is not None and serving.version == version, "the old one serves on"
    assert (champions.of(7).problem is not None) is bool(pointer.strip())
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == bool(pointer.strip())
    environ = {"MODEL_DIR": str(lab.settings.model_dir)}
    status, versions = (CliRunner().invoke(main, [command], env=environ) for command in ("status", "versions"))
    assert (status.exit_code, versions.exit_code) == (0, 0)
    assert version in versions.output
    assert ("is not among the versions; roll back, or promote another one" in status.output) is bool(pointer.strip())

    Versions(folder).promote(version)
    assert not champions.of(7).refresh()
    assert (Versions(folder).champion(), champions.of(7).problem) == (version, None)


def test_a_round_under_a_damaged_pointer_is_judged_without_a_champion_and_mends_it(
    tiny_base: Path, settings_for: SettingsFactory
) -> None:
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5))
    lab.folder.create()
    (lab.folder.path / "champion").write_bytes(b"\xff\xfe\x80")

    ended = lab.round(judged_tasks(60))

    assert ended.outcome == "promoted"
    assert "cannot be loaded" in ended.reason
    assert Versions(lab.folder).champion() == ended.version


# A clock that is set back


def test_versions_and_rollbacks_keep_their_order_where_the_clock_was_set_back(tmp_path: Path) -> None:
    folder = with_two_versions(tmp_path / "models")
    first, second = Versions(folder).all()
    ahead = first.replace(first.split("-")[1], "20990101")
    Versions(folder).path(first).rename(Versions(folder).path(first).with_name(ahead))  # both were made while the clock was ahead
    log = Versions(folder).path(ahead) / PROMOTIONS
    entry = json.loads(log.read_text(encoding="utf-8"))
    log.write_text(json.dumps({**entry, "at": "2099-01-01T00:00:00.000000+00:00"}) + "\n", encoding="utf-8")
    (folder.path / "champion").write_text(ahead, encoding="utf-8")

    Versions(folder).promote(second)
    third = Versions(folder).publish(tmp_path / "models" / "draft", CARD)
    Versions(folder).promote(third)

    assert Versions(folder).all() == [ahead, second, third]
    assert [Versions(folder).rollback(), Versions(folder).rollback()] == [second, ahead]
    with pytest.raises(RegistryError, match=r"has no champion before"):
        Versions(folder).rollback()
    moments = [entry["at"] for version in Versions(folder).all() for entry in Versions(folder).card(version).promotions]
    assert len(set(moments)) == len(moments) == 5


# Two trainers


def test_a_second_trainer_on_a_model_dir_leaves_and_says_so(tmp_path: Path, settings_for: SettingsFactory) -> None:
    environ = {"MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": KEY}
    with FileLock(tmp_path / "trainer.lock"):
        told = CliRunner().invoke(main, ["run"], env=environ)
        with pytest.raises(TrainingError):
            run_schedule(settings_for(model_dir=tmp_path), lambda project, folder: Round("skipped", ""))

    assert told.exit_code == 1
    assert told.output == (
        f"Error: Another trainer works on MODEL_DIR={tmp_path}; stop it, or give this one a folder of its own.\n"
    )
