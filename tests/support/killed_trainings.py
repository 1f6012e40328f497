"""Trainings that are killed while they train, each as a process of its own."""

import os
import signal
import threading
import time
from pathlib import Path

import torch

from preference.reward_model.extractors import Extractors
from preference.reward_model.model import SequenceRewardModel
from tests.support.separable_pairs import separable_pairs
from tests.support.trainings import CPU, SEQUENCE
from trainer.training.trained import TrainingContext, Workspace


def fit(name: str, base: str, folder: Path, *, checkpoint_seconds: float = 180) -> SequenceRewardModel:
    """18 steps in 3 epochs of a recipe."""
    from tests.support.trainings import quick
    from trainer.training.trl_trainer import fit_sequence

    workspace = Workspace(folder, folder / "curves", checkpoint_seconds=checkpoint_seconds)
    context = TrainingContext(base, Extractors(folder / "models", CPU), seed=3)
    return fit_sequence(separable_pairs(24), quick(name), context, workspace).model(context.extractors)


def fit_and_be_killed(base: str, folder: Path) -> None:
    """What the process of the next test runs: for each recipe a process that dies of SIGKILL in the second epoch."""
    import trainer.training.trl_trainer  # noqa: F401 - once, before the forks

    torch.set_num_threads(1)
    for name in SEQUENCE:
        child = os.fork()
        if child == 0:
            threading.Thread(target=die_after_step, args=(folder / name, 8), daemon=True).start()
            fit(name, base, folder / name, checkpoint_seconds=0)
            os._exit(0)
        os.waitpid(child, 0)


def die_after_step(folder: Path, step: int) -> None:
    while steps_kept(folder) < step:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def steps_kept(folder: Path) -> int:
    """The step of the latest whole checkpoint."""
    return max((int(path.parent.name.rpartition("-")[2]) for path in folder.glob("base/checkpoint-*/whole.json")), default=0)
