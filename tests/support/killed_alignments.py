"""Alignments that are killed: a process of its own, which keeps a checkpoint after every step, and one in this process."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from preference.commands.command_line import begin
from preference.projects.folder import ProjectFolder
from preference.reward_model.extractors import Extractors
from preference.studio.project import LabelStudioProject
from tests.support.aligned_house import QUICK, AlignedHouse
from trainer.aligning.align import run_alignment
from trainer.aligning.alignment import ALIGNMENT, UnfinishedAlignment
from trainer.generator_training.recipe import RLOO
from trainer.rounds.outcome import Round, run_here

PROGRAM = "from tests.support.killed_alignments import main; main()"
RECIPES = {"dpo": QUICK, "rloo": replace(RLOO, epochs=0.3, learning_rate=1e-3, answers_a_prompt=2)}


def main() -> None:
    """Arguments: the project's id, after which step it dies, 0 for none, and how it learns. The settings are the environment's."""
    settings = begin()
    torch.set_num_threads(1)
    folder = ProjectFolder(settings.model_dir, int(sys.argv[1]))
    if (step := int(sys.argv[2])) > 0:
        threading.Thread(target=die_after_step, args=(folder, step), daemon=True).start()
    project, extractors = (
        LabelStudioProject(settings.studio, folder.project_id),
        Extractors(settings.model_dir, torch.device("cpu")),
    )
    ended = run_here(
        folder,
        lambda: run_alignment(project, folder, settings, RECIPES[sys.argv[3]], extractors=extractors, checkpoint_seconds=0),
        work=ALIGNMENT,
    )
    os._exit(0 if isinstance(ended, Round) and ended.version else 1)


def die_after_step(folder: ProjectFolder, step: int) -> None:
    while step_kept(folder) < step:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def step_kept(folder: ProjectFolder) -> int:
    """The step of the checkpoint; 0 if there is none."""
    try:
        with safe_open(UnfinishedAlignment(folder).folder / "checkpoint.safetensors", framework="pt") as file:
            return int(json.loads(file.metadata()["progress"])["step"])
    except FileNotFoundError:
        return 0


class Killed(BaseException):
    """SIGKILL, as far as what lies on the disk goes: nothing is caught (tests/processes/test_killed_alignment.py sends the real one)."""


def killed(house: AlignedHouse, recipe: Any = QUICK, *, beginning: str = "", step: int = 0) -> None:
    """An alignment that dies when it says a line that begins so, or once so many steps are kept."""

    def kill(line: str) -> None:
        if beginning and line.startswith(beginning):
            raise Killed

    house.when_said = kill
    seconds = iter(range(1_000_000))

    def clock() -> float:
        if step and step_kept(house.folder) >= step:
            raise Killed
        return float(next(seconds)) / 1000

    with pytest.raises(Killed):
        house.align(recipe, checkpoint_seconds=0, clock=clock)
    house.when_said = lambda line: None
