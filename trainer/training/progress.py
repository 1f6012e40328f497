"""How far a training has got: a bar on a terminal, a line now and then in a log."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, get_reporting_integration_callbacks

from preference.errors import TrainingError
from preference.formatting import duration

logger = logging.getLogger("pairloop.training")


class Bar(ProgressCallback):
    """transformers' bar with the loss at its end; its own prints every loss on a line."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:  # fmt: skip
        """Shows the loss of the last step."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=f"{(logs or {})['loss']:.2f}")


class Lines(TrainerCallback):
    """One line at the start, then one every `every_seconds`: step, mean loss since the last line, time to go."""

    def __init__(self, name: str, *, every_seconds: float = 30, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._every, self._clock = name, every_seconds, clock
        self._losses: list[float] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The first line."""
        self._began = self._last = self._clock()
        self._first = state.global_step
        after = f", goes on after step {self._first}" if self._first else ""
        num_pairs = args.train_batch_size * args.gradient_accumulation_steps
        logger.info("training %s: %d steps of %d pairs%s", self._name, state.max_steps, num_pairs, after)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:  # fmt: skip
        """A line if it is time for one."""
        if "loss" not in (logs or {}):
            return
        self._losses.append(float((logs or {})["loss"]))
        now = self._clock()
        if now - self._last < self._every:
            return
        remaining = (now - self._began) / max(1, state.global_step - self._first) * (state.max_steps - state.global_step)
        loss = sum(self._losses) / len(self._losses)
        logger.info(
            "training %s: step %d of %d, loss %.2f, about %s to go",
            self._name,
            state.global_step,
            state.max_steps,
            loss,
            duration(remaining),
        )
        self._last, self._losses = now, []


Report = Callable[[int, Mapping[str, float]], None]  # takes a step, counted from 1, and its figures


@contextmanager
def curves(report_to: str, folder: Path) -> Iterator[Report]:
    """Sends the figures of a training that is no Trainer's where REPORT_TO says. `folder`: tensorboard's; its name is the run's.

    Raises:
        TrainingError: as check_reporters.
    """
    names = [name for name in report_to.split(",") if name != "none"]
    check_reporters(report_to)
    callbacks = [callback() for callback in get_reporting_integration_callbacks(names)]
    arguments = TrainingArguments(output_dir=str(folder), run_name=folder.name, use_cpu=True, report_to="none") if names else None
    state, control = TrainerState(), TrainerControl()

    def report(step: int, figures: Mapping[str, float]) -> None:
        state.global_step = step
        for callback in callbacks:
            callback.on_log(arguments, state, control, logs=dict(figures))

    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(folder)
        callback.on_train_begin(arguments, state, control)
    try:
        yield report
    finally:
        for callback in callbacks:
            callback.on_train_end(arguments, state, control)


def check_reporters(report_to: str) -> None:
    """Raises TrainingError if REPORT_TO names something unknown or not installed: before hours of training, not after."""
    for name in report_to.split(","):
        if name == "none":
            continue
        try:
            get_reporting_integration_callbacks([name])[0]()
        except (ValueError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise TrainingError(
                f"REPORT_TO={report_to} cannot be followed: {reason}; pip install {name}, or set REPORT_TO=none."
            ) from error
