"""A round that is killed while it trains, as a process of its own."""

import os
import signal
import threading
import time
from pathlib import Path

from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from tests.support.lab import Lab, judged_tasks

NUM_TASKS = 48  # enough to set some aside from training


def settings_in(folder: Path, base: Path, **environ: str) -> Settings:
    fixed = {"MODEL_DIR": str(folder / "models"), "REWARD_BASE": str(base), "RECIPE": "lora", "SEED": "5", "DEVICE": "cpu"}
    return Settings.from_environ({**fixed, "MIN_PAIRS": "20", "HOLDOUT_FRACTION": "0.3", **environ})


def run_round_and_be_killed(scratch: Path, base: Path) -> None:
    """What the process of the next fixture runs: a round that dies of SIGKILL in the middle of its training."""

    def die(after: int) -> None:
        folder = ProjectFolder(scratch / "models", 7)
        while not any(folder.path.glob(f"training/base/checkpoint-{after}/whole.json")):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, args=(3,), daemon=True).start()
    Lab(settings_in(scratch, base)).round(judged_tasks(NUM_TASKS), checkpoint_seconds=0)
