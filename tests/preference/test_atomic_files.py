"""A folder of versions that fails: kills at every step of writing it, a disk that is full or read-only, damage, a wrong clock."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

from preference.atomic_files import new_folder, replacing, write_whole
from preference.errors import TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.dying import ACTIONS
from tests.support.studio_double import KEY
from tests.support.two_versions import with_two_versions
from trainer.__main__ import main
from trainer.daemon.schedule import run_schedule
from trainer.rounds.outcome import Round


def names(folder: ProjectFolder) -> list[str]:
    return [version.partition("-")[0] for version in Versions(folder).all()]


# Kills


@dataclass(frozen=True)
class Killed:
    """What lay in the folder after each step at which an action was killed, and after it was done to the end."""

    versions: list[str]  # before
    champion: str | None
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def killed_at(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Killed]:
    """Of each of ACTIONS; one process kills them all."""
    folders = {name: with_two_versions(tmp_path_factory.mktemp(name) / "models") for name in ACTIONS}
    Versions(folders["rollback"]).promote(Versions(folders["rollback"]).all()[1])
    pairs = [part for name, folder in folders.items() for part in (name, str(folder.path.parent.parent))]
    command = [sys.executable, "-m", "tests.support.dying", *pairs]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {
        name: Killed(
            Versions(folder).all(), Versions(folder).champion(), [outcome for outcome in lines if outcome["action"] == name]
        )
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("name", ACTIONS)
def test_a_kill_at_any_step_of_writing_leaves_nothing_half_and_the_next_process_does_it(
    name: str, killed_at: dict[str, Killed]
) -> None:
    (first, second), was = killed_at[name].versions, killed_at[name].champion
    *killed, whole = killed_at[name].outcomes

    assert len(killed) >= 5
    assert not any(outcome["is_over"] for outcome in killed)
    will_be = {"promote": second, "rollback": first}.get(name, was)
    assert whole["after"]["champion"] == will_be
    for outcome in [*killed, whole]:
        after, again = outcome["after"], outcome["again"]
        assert after["champion"] in (was, will_be), outcome
        assert all(after["versions"].values()), outcome
        assert list(after["versions"])[:2] == [first, second], outcome
        assert after["is_right"], outcome
        assert after["progress"] in ({}, {"tasks_left": 7}), outcome
        assert after["pairs"] in (None, 1), outcome
        assert all(again["versions"].values()), outcome
        assert again["leftovers"] == [], outcome
        assert (again["is_cached"], again["progress"]) == (whole["again"]["is_cached"], whole["again"]["progress"]), outcome
        assert again["attempts"] == 0, outcome
        assert again["champion"] == will_be, outcome


def test_files_of_killed_writers_are_swept_by_the_next_and_those_of_others_are_not(tmp_path: Path) -> None:
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

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "old")]


def test_a_folder_appears_whole_and_what_killed_writers_left_of_others_goes(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-0123").mkdir()
    (tmp_path / ".unfinished-0123" / "half").touch()

    with new_folder(tmp_path / "model") as temporary:
        (temporary / "weights").mkdir(parents=True)
        (temporary / "weights" / "first").write_text("1")
        assert [path.name for path in tmp_path.iterdir()] == [temporary.name]

    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights" / "first").read_text() == "1"


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_what_raises_while_a_folder_is_filled_leaves_nothing(tmp_path: Path, raised: type[BaseException]) -> None:
    with pytest.raises(raised), new_folder(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "half").touch()
        raise raised

    assert list(tmp_path.iterdir()) == []


def test_a_private_file_is_its_user_s_alone_from_the_first_byte_on(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with replacing(path, is_private=True) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
        temporary.write_text("{}")

    assert path.stat().st_mode & 0o777 == 0o600


# Two trainers


def test_a_second_trainer_on_a_model_dir_ends_and_says_so(tmp_path: Path, settings_for: SettingsFactory) -> None:
    environ = {"MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": KEY}
    with FileLock(tmp_path / "trainer.lock"):
        result = CliRunner().invoke(main, ["run"], env=environ)
        with pytest.raises(TrainingError):
            run_schedule(settings_for(model_dir=tmp_path), lambda project, folder: Round("skipped", ""))

    assert result.exit_code == 1
    assert result.output == (
        f"Error: Another trainer works on MODEL_DIR={tmp_path}; stop it, or give this one a folder of its own.\n"
    )
