import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.support.forked import run_forked
from tests.support.killed_trainings import fit, steps_kept
from tests.support.tolerance import assert_same_weights
from tests.support.trainings import SEQUENCE, weights_of
from trainer.training.checkpoints import Checkpoints, newest_checkpoint


@dataclass(frozen=True)
class Training:
    """Where a training worked, and the weights that it ended with."""

    name: str
    folder: Path
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def killed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each recipe with what a killed training left; only to be copied."""
    folder = tmp_path_factory.mktemp("killed")
    program = (
        "import sys, pathlib, tests.support.killed_trainings as t; t.fit_and_be_killed(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    run_forked(program, tiny_base, folder).check_returncode()
    return folder


@pytest.fixture(scope="module", params=SEQUENCE)
def uninterrupted(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that nobody killed, and that was over before it was time for a checkpoint; only to be read."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return Training(request.param, folder, weights_of(fit(request.param, str(tiny_base), folder)))


@pytest.fixture(scope="module")
def with_checkpoints(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that wrote a checkpoint after each step; only to be read."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return Training("full", folder, weights_of(fit("full", str(tiny_base), folder, checkpoint_seconds=0)))


def test_a_killed_training_goes_on_and_ends_with_the_weights_of_one_that_was_not(
    uninterrupted: Training, killed: Path, tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = uninterrupted.name
    shutil.copytree(killed / name, tmp_path / "work")
    step = steps_kept(tmp_path / "work")
    assert 8 <= step < 18
    caplog.set_level(logging.INFO, logger="pairloop.training")

    resumed = weights_of(fit(name, str(tiny_base), tmp_path / "work"))

    assert f"training {name}: 18 steps of 4 pairs, goes on after step {step}" in caplog.messages
    assert_same_weights(resumed, uninterrupted.weights)


def test_a_training_that_was_killed_after_its_last_step_is_not_trained_again(
    with_checkpoints: Training, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(with_checkpoints.folder, tmp_path / "work")
    checkpoint = newest_checkpoint(tmp_path / "work" / "base")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-18"

    again = weights_of(fit("full", str(tiny_base), tmp_path / "work"))

    assert all(torch.equal(weight, again[key]) for key, weight in with_checkpoints.weights.items()), "read back"


def test_one_checkpoint_is_kept_with_weights_as_safetensors(with_checkpoints: Training) -> None:
    (checkpoint,) = (with_checkpoints.folder / "base").glob("checkpoint-*")
    names = {path.name for path in checkpoint.iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "whole.json"} <= names
    assert "pytorch_model.bin" not in names


def test_between_two_checkpoints_none_is_written(uninterrupted: Training) -> None:
    assert not list(uninterrupted.folder.glob("base/checkpoint-*"))


def checkpoint(folder: Path, step: int) -> Path:
    """A whole checkpoint of one file."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "whole.json").write_text(json.dumps({"model.safetensors": 7}), encoding="utf-8")
    return made


@pytest.mark.parametrize("damage", ["no marker", "half a marker", "an empty marker", "a short file", "no file"])
def test_a_torn_checkpoint_is_passed_over_and_swept(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    older, torn = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    marker, weights = torn / "whole.json", torn / "model.safetensors"
    if damage == "no marker":
        marker.unlink()
    elif damage == "half a marker":
        marker.write_bytes(marker.read_bytes()[:9])
    elif damage == "an empty marker":
        marker.write_bytes(b"")
    elif damage == "a short file":
        weights.write_bytes(b"weig")
    else:
        weights.unlink()

    assert newest_checkpoint(tmp_path) == older
    assert not torn.exists()
    assert caplog.messages == [f"{torn} is incomplete after a kill and is not used"]


def test_steps_are_counted_and_not_spelt(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)

    assert newest_checkpoint(tmp_path) is not None
    assert newest_checkpoint(tmp_path) != checkpoint(tmp_path, 10)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_it_is_time_for_a_checkpoint_when_the_last_one_is_old(tmp_path: Path) -> None:
    seconds = [0.0]
    asking = Checkpoints(tmp_path, every_seconds=180, clock=lambda: seconds[-1])
    arguments, state = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerState(global_step=1, max_steps=100)

    def is_asked(at: float) -> bool:
        seconds.append(at)
        control = TrainerControl()
        asking.on_step_end(arguments, state, control)
        return control.should_save

    assert [is_asked(at) for at in (10, 179, 181)] == [False, False, True]
    asking.on_save(arguments, state, TrainerControl())
    assert [is_asked(at) for at in (182, 360, 361)] == [False, False, True]
