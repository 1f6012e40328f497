"""Checkpoints of a training that may be killed: written every few minutes, each whole or not used.

transformers writes a checkpoint's files one after another and syncs none of them. `whole.json` goes last and holds their
sizes, so that a kill, a full disk or a power cut in the middle leaves a folder that `newest_checkpoint` does not take.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from preference.atomic_files import sync, write_whole

logger = logging.getLogger("pairloop.training")
_MARKER = "whole.json"


class Checkpoints(TrainerCallback):
    """Asks for a checkpoint every `every_seconds`, and keeps the latest."""

    def __init__(self, folder: Path, *, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._every, self._clock = folder, every_seconds, clock
        self._last = clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        """Asks for a checkpoint if it is time for one."""
        if self._clock() - self._last >= self._every:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Marks what was written as whole, then drops the one before it."""
        self._last = self._clock()
        written = self._folder / f"checkpoint-{state.global_step}"
        if not written.is_dir():
            return  # the disk was full
        _mark(written)
        for older in self._folder.glob("checkpoint-*"):
            if older != written:
                shutil.rmtree(older, ignore_errors=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint in a folder, or None."""
    newest_first = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in newest_first:
        if _is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is incomplete after a kill and is not used", checkpoint)
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / _MARKER).read_text(encoding="utf-8"))
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _mark(checkpoint: Path) -> None:
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    for path in files:
        sync(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_whole(checkpoint / _MARKER, json.dumps(sizes))
