"""Rounds that are killed, interrupted and starved: real processes, real signals, real limits."""

import logging
import os
import shutil
import signal
import threading
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from preference.errors import StudioUnreachable
from preference.models.low_rank import WEIGHTS
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.daemon import Daemon, eventually
from tests.support.forked import run_forked
from tests.support.killed_rounds import NUM_TASKS, settings_in
from tests.support.lab import Lab, judged_tasks
from tests.support.studio_double import KEY, StudioDouble
from tests.support.tolerance import assert_same_weights
from trainer.rounds.outcome import Round
from trainer.rounds.unfinished import UnfinishedRound


@pytest.fixture(scope="module")
def killed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the MODEL_DIR of a round that was killed after its third step; only to be copied."""
    folder = tmp_path_factory.mktemp("killed")
    program = "import sys, pathlib, tests.support.killed_rounds as t; t.run_round_and_be_killed(*map(pathlib.Path, sys.argv[1:]))"
    (folder / "tmp").mkdir()
    ran = run_forked(program, folder, tiny_base, environ={**os.environ, "TMPDIR": str(folder / "tmp")})
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    return folder


@pytest.fixture
def lab(killed: Path, tiny_base: Path, tmp_path: Path) -> Lab:
    shutil.copytree(killed / "models", tmp_path / "models")
    return Lab(settings_in(tmp_path, tiny_base))


@pytest.fixture(scope="module")
def undisturbed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, Round]:
    """A lab after a round that nobody disturbed; only to be read."""
    lab = Lab(settings_in(tmp_path_factory.mktemp("undisturbed"), tiny_base))
    return lab, lab.round(judged_tasks(NUM_TASKS))


def weights(lab: Lab, ended: Round) -> dict[str, torch.Tensor]:
    return load_file(Versions(lab.folder).path(ended.version or "") / WEIGHTS)


def test_a_killed_round_is_taken_up_with_what_it_trained_on(
    lab: Lab, undisturbed: tuple[Lab, Round], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    ended = lab.round(judged_tasks(NUM_TASKS + 20))

    assert any(message.endswith(": taking up the round that was killed (attempt 2)") for message in caplog.messages)
    (started,) = [message for message in caplog.messages if message.startswith("training lora: ")]
    assert started.endswith(", goes on after step 3")
    card, other = lab.card(ended), undisturbed[0].card(undisturbed[1])
    assert (card.num_train_pairs, card.num_annotations) == (other.num_train_pairs, other.num_annotations)
    assert (card.num_holdout_pairs or 0) > (other.num_holdout_pairs or 0), "judged on all that is known now"
    assert_same_weights(weights(lab, ended), weights(*undisturbed))
    assert not UnfinishedRound(lab.folder).folder.exists()
    newer = lab.card(lab.round(judged_tasks(NUM_TASKS + 20)))
    assert (newer.num_train_pairs or 0) > (card.num_train_pairs or 0), "the next one takes the new"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"HOLDOUT_FRACTION": "0.6"}, "HOLDOUT_FRACTION now holds out prompts that it trains on"),
        ({"SEED": "6"}, "recipe, base, seed, champion, the reading's settings or a library changed"),
        ({"RECIPE": "full"}, "recipe, base, seed, champion, the reading's settings or a library changed"),
        ({"TIES": "drop"}, "recipe, base, seed, champion, the reading's settings or a library changed"),
    ],
    ids=["holdout", "seed", "recipe", "ties"],
)
def test_a_killed_round_is_not_taken_up_under_other_settings(
    change: dict[str, str], reason: str, lab: Lab, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop")
    lab.settings = settings_in(tmp_path, tiny_base, **change)

    ended = lab.round(judged_tasks(NUM_TASKS // 2))

    assert f"{UnfinishedRound(lab.folder).folder}: the round that was killed is not taken up: {reason}" in caplog.messages
    assert not [message for message in caplog.messages if "goes on after step" in message]
    assert lab.card(ended).recipe == lab.settings.training.recipe
    assert not UnfinishedRound(lab.folder).folder.exists()


def test_a_smaller_holdout_does_not_keep_a_round_from_going_on(lab: Lab, tiny_base: Path, tmp_path: Path) -> None:
    lab.settings = settings_in(tmp_path, tiny_base, HOLDOUT_FRACTION="0.25")
    before = UnfinishedRound(lab.folder).snapshot()
    assert before is not None

    assert lab.card(lab.round(judged_tasks(NUM_TASKS))).num_train_pairs == len(before.pairs)
    assert not (lab.folder.path / "training").exists()


def test_a_label_studio_that_is_away_costs_a_killed_round_nothing(lab: Lab) -> None:
    with pytest.raises(StudioUnreachable):
        lab.round(judged_tasks(NUM_TASKS), error=StudioUnreachable("Label Studio does not answer"))

    assert UnfinishedRound(lab.folder).num_attempts == 1
    assert (UnfinishedRound(lab.folder).folder / "base" / "checkpoint-3").is_dir()


def test_a_round_that_fails_leaves_nothing_to_take_up(lab: Lab, tiny_base: Path, tmp_path: Path) -> None:
    lab.settings = settings_in(tmp_path, tmp_path / "no-such-base")

    assert lab.round(judged_tasks(NUM_TASKS)).outcome == "failed"
    assert not UnfinishedRound(lab.folder).folder.exists()


def test_nothing_lies_in_the_temporary_folder_after_a_kill(killed: Path) -> None:
    """All that a round writes lies in folders that the next one sweeps, as the tests above show."""
    folder = killed / "models" / "projects" / "7"

    assert list((killed / "tmp").iterdir()) == []
    assert {path.name for path in (folder / "training").iterdir()} == {"round.json", "pairs.jsonl", "base", "version"}


# Warm starts, through whole rounds


def test_a_second_round_says_from_what_it_started_and_is_reproducible(
    undisturbed: tuple[Lab, Round], tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")
    labs = []
    for name in ("first", "second"):
        shutil.copytree(undisturbed[0].settings.model_dir, tmp_path / name / "models")
        labs.append(Lab(settings_in(tmp_path / name, tiny_base)))
        Versions(labs[-1].folder).promote(undisturbed[1].version or "")

    ended = [weights(lab, lab.round(judged_tasks(NUM_TASKS + 10))) for lab in labs]

    assert_same_weights(*ended)
    logged = [record.getMessage() for record in caplog.records if record.module == "sequence"]
    assert len(logged) == 2
    assert logged[0].startswith("training lora: from the ")


# A disk that is full


def test_a_round_on_a_full_disk_leaves_the_champion_and_says_so(tiny_base: Path, tmp_path: Path) -> None:
    """A real limit on what a process may write, in a process of its own."""
    lab = Lab(settings_in(tmp_path, tiny_base, RECIPE="frozen"))
    champion = lab.round(judged_tasks(60)).version
    Versions(lab.folder).promote(champion or "")
    program = """
import pathlib, resource, sys
from tests.support.killed_rounds import settings_in
from tests.support.lab import Lab, judged_tasks
lab = Lab(settings_in(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), RECIPE="frozen"))
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
print(lab.round(judged_tasks(70)))
"""
    finished = run_forked(program, tmp_path, tiny_base)

    assert finished.stdout.startswith("failed: The trained model cannot be written to "), finished.stderr
    assert "File too large" in finished.stdout
    assert Versions(lab.folder).champion() == champion
    assert [path.name for path in (lab.folder.path / "versions").iterdir()] == [champion]
    assert not UnfinishedRound(lab.folder).folder.exists()


# The whole trainer


@pytest.mark.timeout(300)
def test_a_round_outlives_kills_of_itself_and_of_the_daemon_and_ends_once(
    studio: StudioDouble, tiny_base: Path, tmp_path: Path
) -> None:
    project_id = studio.add_project()
    for task in judged_tasks(60):
        (task_id,) = studio.add_tasks(project_id, task["data"])
        studio.annotate(task_id, task["annotations"][0]["result"])
    is_open, killed = threading.Event(), list[psutil.Process]()

    def hold(request: str) -> None:
        is_of_round = unfinished.num_attempts > len(killed)  # the daemon's looks ask for tasks as well
        if request == "GET /api/tasks/" and is_of_round:
            is_open.wait(200)

    studio.on_arrival = hold
    environ = {
        "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(tmp_path), "REWARD_BASE": str(tiny_base),
        "DEVICE": "cpu", "TORCH_THREADS": "1", "LOOK_EVERY_SECONDS": "0.2", "MIN_NEW_PAIRS": "1000", "MIN_PAIRS": "20",
    }  # fmt: skip
    folder = ProjectFolder(tmp_path, project_id)
    folder.request("train")
    unfinished = UnfinishedRound(folder)
    first = Daemon(environ, tmp_path / "first.log")
    orphan: psutil.Process | None = None
    try:
        eventually(lambda: unfinished.num_attempts == 1)
        running = first.round_process()
        assert running is not None
        killed.append(running)
        running.kill()

        eventually(lambda: unfinished.num_attempts == 2)  # the daemon lived, said so, and tried again
        assert "round failed: the round's process was killed (signal 9, SIGKILL: out of memory?)" in first.log
        assert "round begins (the one before was killed)" in first.log
        orphan = first.round_process()
        assert orphan is not None
        first.kill()

        second = Daemon(environ, tmp_path / "second.log")
        try:
            eventually(lambda: "trainer up" in second.log)
            is_open.set()
            eventually(lambda: bool(Versions(folder).all()) and not unfinished.folder.exists())
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(60) == 0
        finally:
            second.kill()
        assert "round begins" not in second.log, "the orphan was at it"
        assert len(Versions(folder).all()) == 1
    finally:
        is_open.set()
        first.kill()
        if orphan is not None and orphan.is_running():
            orphan.kill()
