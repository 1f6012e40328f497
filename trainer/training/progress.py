"""How far a training has got: a bar on a terminal, a line now and then in a log."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

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
