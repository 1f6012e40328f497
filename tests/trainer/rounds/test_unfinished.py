import subprocess
import sys
from pathlib import Path

import pytest

from preference.errors import RegistryError, TrainingError
from preference.projects.folder import ProjectFolder
from tests.conftest import REPOSITORY
from tests.support.separable_pairs import separable_pairs
from trainer.rounds.lock import is_running, only_one
from trainer.rounds.unfinished import MAX_ATTEMPTS, Snapshot, UnfinishedRound

KEY = {"recipe": {"name": "lora", "epochs": 1.0}, "seed": 3, "warm_start": None}


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    made = ProjectFolder(tmp_path, 3)
    made.create()
    return made


@pytest.fixture
def unfinished(folder: ProjectFolder) -> UnfinishedRound:
    return UnfinishedRound(folder)


def test_before_the_first_round_nothing_is_unfinished(unfinished: UnfinishedRound) -> None:
    assert (unfinished.exists, unfinished.num_attempts, unfinished.snapshot()) == (False, 0, None)


def test_a_round_that_began_is_unfinished_until_it_is_removed(unfinished: UnfinishedRound) -> None:
    unfinished.begin()
    assert (unfinished.exists, unfinished.num_attempts, unfinished.snapshot()) == (True, 1, None)

    unfinished.remove()
    assert not unfinished.folder.exists()


def test_what_is_kept_is_read_back_by_the_next_process(unfinished: UnfinishedRound, folder: ProjectFolder) -> None:
    kept = Snapshot(separable_pairs(5), 61, {"skipped": 1}, KEY, newest_annotation=70)
    unfinished.begin()
    unfinished.keep(kept)
    assert (unfinished.folder / "pairs.jsonl").stat().st_mode & 0o777 == 0o600, "it holds prompts and answers"

    other = UnfinishedRound(folder)
    other.begin()

    assert other.snapshot() == kept
    assert other.num_attempts == 2
    assert other.began_at == unfinished.began_at


def test_a_third_attempt_is_the_last(unfinished: UnfinishedRound, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(MAX_ATTEMPTS):
        unfinished.begin()
    unfinished.keep(Snapshot(separable_pairs(5), 61, {"skipped": 1}, KEY))
    (unfinished.folder / "base").mkdir()

    unfinished.begin()

    assert (unfinished.num_attempts, unfinished.snapshot()) == (1, None)
    assert [path.name for path in unfinished.folder.iterdir()] == ["round.json"]
    (line,) = caplog.messages
    assert line.startswith(f"{unfinished.folder}: the round was killed 3 times before it could end and is given up; ")


def test_a_round_that_was_put_off_keeps_what_it_has_and_loses_the_attempt(unfinished: UnfinishedRound) -> None:
    unfinished.begin()
    unfinished.keep(Snapshot(separable_pairs(5), 61, {"skipped": 1}, KEY))

    unfinished.put_off()

    assert (unfinished.exists, unfinished.num_attempts) == (True, 0)
    assert unfinished.snapshot() is not None


def test_a_round_that_was_put_off_before_it_had_anything_leaves_nothing(unfinished: UnfinishedRound) -> None:
    unfinished.begin()

    unfinished.put_off()

    assert not unfinished.folder.exists()


def test_a_round_that_cannot_go_on_begins_again_as_another(unfinished: UnfinishedRound) -> None:
    unfinished.begin()
    unfinished.begin()
    unfinished.keep(Snapshot(separable_pairs(5), 61, {"skipped": 1}, KEY))
    (unfinished.folder / "base").mkdir()

    unfinished.restart()

    assert (unfinished.num_attempts, unfinished.snapshot()) == (1, None)
    assert not (unfinished.folder / "base").exists()


def test_files_without_a_record_are_removed(unfinished: UnfinishedRound) -> None:
    (unfinished.folder / "base" / "checkpoint-7").mkdir(parents=True)

    unfinished.begin()

    assert not (unfinished.folder / "base").exists()


@pytest.mark.parametrize("file", ["round.json", "pairs.jsonl"])
@pytest.mark.parametrize("damage", ["{", "", "[1]", None])
def test_a_damaged_file_costs_the_snapshot_and_no_more(
    file: str, damage: str | None, unfinished: UnfinishedRound, caplog: pytest.LogCaptureFixture
) -> None:
    unfinished.begin()
    unfinished.keep(Snapshot(separable_pairs(5), 61, {"skipped": 1}, KEY))
    path = unfinished.folder / file
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage, encoding="utf-8")

    snapshot = unfinished.snapshot()
    unfinished.begin()

    assert snapshot is None
    assert unfinished.num_attempts in (1, 2)
    assert damage is None or f"{path} is damaged" in caplog.text


def test_the_folder_of_a_version_is_empty_each_time(unfinished: UnfinishedRound) -> None:
    unfinished.begin()
    (unfinished.version_folder() / "half a model").touch()

    assert list(unfinished.version_folder().iterdir()) == []


def test_a_full_disk_is_an_error_and_no_attempt_is_begun(folder: ProjectFolder) -> None:
    """A real limit on what a process may write, in a process of its own."""
    program = """
import pathlib, resource, sys
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from trainer.rounds.unfinished import UnfinishedRound
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    UnfinishedRound(ProjectFolder(pathlib.Path(sys.argv[1]), 3)).begin()
except RegistryError as error:
    print(error)
"""
    model_dir = folder.path.parent.parent
    finished = subprocess.run(
        [sys.executable, "-c", program, str(model_dir)], cwd=REPOSITORY, capture_output=True, text=True, timeout=100
    )

    training = folder.path / "training"
    assert finished.stdout == f"MODEL_DIR is not writable at {training} (File too large); free some space.\n"
    assert not UnfinishedRound(folder).exists


# One round of a project at a time


def test_a_second_round_of_a_project_is_refused_while_the_first_runs(folder: ProjectFolder) -> None:
    with only_one(folder):
        assert is_running(folder)
        with (
            pytest.raises(TrainingError, match=r"^Another process is in the middle of a round of project 3;"),
            only_one(folder),
        ):
            raise AssertionError("two at once")

    assert not is_running(folder)
    with only_one(folder):
        assert is_running(folder)


def test_two_projects_are_trained_at_once(folder: ProjectFolder, tmp_path: Path) -> None:
    with only_one(folder), only_one(ProjectFolder(tmp_path, 4)):
        assert is_running(ProjectFolder(tmp_path, 4))


def test_a_killed_process_does_not_hold_the_project(folder: ProjectFolder, tmp_path: Path) -> None:
    program = """
import os, pathlib, sys
from preference.projects.folder import ProjectFolder
from trainer.rounds.lock import only_one
with only_one(ProjectFolder(pathlib.Path(sys.argv[1]), 3)):
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, timeout=100)

    assert killed.returncode == -9
    assert not is_running(folder)


def test_a_project_that_nobody_knows_has_no_round(tmp_path: Path) -> None:
    assert not is_running(ProjectFolder(tmp_path, 9))
    assert not (tmp_path / "projects").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "projects").touch()

    with pytest.raises(RegistryError, match=r"is not writable"), only_one(ProjectFolder(tmp_path, 3)):
        pass
