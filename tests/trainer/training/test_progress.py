import logging
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.support.separable_pairs import separable_pairs
from tests.support.trainings import Bench, quick
from trainer.training.progress import Bar, Lines, curves


class Training:
    """A training of 400 steps that takes as long as a test says."""

    def __init__(self, folder: Path, *, first: int = 0, every_seconds: float = 30) -> None:
        self.seconds = 1000.0
        self._arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, per_device_train_batch_size=8)
        self._state = TrainerState(global_step=first, max_steps=400)
        self._lines = Lines("lora", every_seconds=every_seconds, clock=lambda: self.seconds)
        self._lines.on_train_begin(self._arguments, self._state, TrainerControl())

    def step(self, number: int, *, seconds: float, loss: float) -> None:
        self.seconds += seconds
        self._state.global_step = number
        self._lines.on_log(self._arguments, self._state, TrainerControl(), {"loss": loss, "grad_norm": 1.0})

    def end(self) -> None:
        self._lines.on_log(self._arguments, self._state, TrainerControl(), {"train_runtime": 12.0})


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.training")


def test_a_line_at_the_start_and_one_every_half_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = Training(tmp_path)
    for number in range(1, 121):
        training.step(number, seconds=0.5, loss=0.9 if number <= 60 else 0.6)
    training.end()

    assert caplog.messages == [
        "training lora: 400 steps of 8 pairs",
        "training lora: step 60 of 400, loss 0.90, about 3 min to go",
        "training lora: step 120 of 400, loss 0.60, about 2 min to go",
    ]


def test_the_remaining_time_of_a_resumed_training_counts_its_own_steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = Training(tmp_path, first=390)
    training.step(391, seconds=40, loss=0.5)

    assert caplog.messages == [
        "training lora: 400 steps of 8 pairs, goes on after step 390",
        "training lora: step 391 of 400, loss 0.50, about 6 min to go",
    ]


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(0.01, "about 4 s to go"), (0.1, "about 40 s to go"), (1, "about 7 min to go"), (60, "about 6 h 39 min to go")],
)
def test_a_time_reads_as_people_say_it(seconds: float, left: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = Training(tmp_path, every_seconds=0)
    lines.step(1, seconds=seconds, loss=0.7)

    assert caplog.messages[-1].endswith(left)


def test_a_real_training_says_how_far_it_is(tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Bench(tiny_base, tmp_path).fit(separable_pairs(8), quick(epochs=1))

    plan, first = [r.getMessage() for r in caplog.records if r.name == "pairloop.training"]
    assert plan.startswith("training full takes ") and first == "training full: 2 steps of 4 pairs"


def test_on_a_terminal_a_bar_shows_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bar: Any = Bar()
    control = TrainerControl()
    arguments, state = (
        TrainingArguments(output_dir=str(tmp_path), use_cpu=True),
        TrainerState(max_steps=2, is_world_process_zero=True),
    )

    bar.on_train_begin(arguments, state, control)
    state.global_step = 1
    bar.on_step_end(arguments, state, control)
    bar.on_log(arguments, state, control, {"loss": 0.6123, "grad_norm": 1.0})
    bar.on_train_end(arguments, state, control)

    drawn = capsys.readouterr().err
    assert "1/2" in drawn
    assert "loss=0.61" in drawn
    assert "grad_norm" not in drawn


def test_the_curves_of_a_training_without_a_trainer_lie_in_the_run_s_folder(tmp_path: Path) -> None:
    with curves("tensorboard", tmp_path / "run") as report:
        for step in (1, 2, 3):
            report(step, {"loss": 0.7 / step, "learning_rate": 1e-3})

    (file,) = (tmp_path / "run").glob("events.*")
    assert file.read_bytes().count(b"train/loss") == 3


def test_no_curves_are_the_default(tmp_path: Path) -> None:
    with curves("none", tmp_path / "run") as report:
        report(1, {"loss": 0.7})

    assert not (tmp_path / "run").exists()
