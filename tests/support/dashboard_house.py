"""A MODEL_DIR as a month of a small team leaves it: rounds over noisy judgements, run by the trainer itself."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from preference.labelling.prompts import transcript
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import write_last_round, write_next_round
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.support.lab import Lab, vote
from tests.support.separable_pairs import separable_pairs
from tests.support.statuses import keep_filling, write_counts

PROJECT = 7  # the one that a Lab trains for
SIZES = (20, 90, 140, 220)  # the first version is kept back


def shared_model_dir(temporary: Path, base: Path) -> Path:
    """This process's copy of a MODEL_DIR after four rounds of project 7, which are run once for all: only to be read."""
    run = temporary.parent if os.environ.get("PYTEST_XDIST_WORKER") else temporary
    made, done, own = run / "rounds", run / "rounds.done", temporary / "dashboard-house"
    with FileLock(run / "rounds.lock"):
        if not done.exists():
            run_rounds(made, base)
            done.touch()
        if not own.exists():  # a copy, as a page that is served from it writes a key and a test writes its status
            shutil.copytree(made, own)
    write_status(ProjectFolder(own, PROJECT), now=time.time())
    return own


def run_rounds(model_dir: Path, base: Path, *, sizes: tuple[int, ...] = SIZES) -> ProjectFolder:
    """The folder of project 7 after a round for each size."""
    environ = {"MODEL_DIR": str(model_dir), "REWARD_BASE": str(base), "DEVICE": "cpu", "TORCH_THREADS": "1"}
    environ |= {"LABEL_STUDIO_URL": "http://inside:1", "LABEL_STUDIO_PUBLIC_URL": "https://studio.example"}
    settings = Settings.from_environ({**environ, "MIN_PAIRS": "20", "HOLDOUT_FRACTION": "0.3", "SLICE_BY": "topic"})
    lab = Lab(settings)
    for size in sizes:
        ended = lab.round(_tasks(size, version=Versions(lab.folder).champion()))
        assert ended.version is not None, ended
    return lab.folder


def write_status(folder: ProjectFolder, *, now: float, **changes: Any) -> None:
    """Writes what filler and trainer would: 1,240 tasks, some of them judged, the next round in five hours."""
    model_dir = folder.path.parent.parent
    keep_filling(folder,
        {
            "tasks_left": 84, "tasks_answered": 316, "tasks_failed": {"the model wrote nothing": 3, "no prompt": 1},
            "answers_per_second": 3.42, "tokens_per_second": 218.5, "seconds_left": 51, "is_filling": True, "at": now - 2, **changes,
        }
    )  # fmt: skip
    write_counts(folder, 38, title="Support answers, English", num_tasks=1240, num_judged_tasks=220, num_judgements=331)
    write_next_round(model_dir, now + 5.2 * 3600, schedule="0 3 * * *", min_new_pairs=50)
    write_last_round(folder, "skipped", reason="38 of 50 pairs (MIN_PAIRS); excluded: 4 skipped", version=None, seconds=2.3)
    (model_dir / "trainer.alive").touch()


def _tasks(number: int, *, version: str | None) -> list[dict[str, Any]]:
    """Judged tasks, of which about a fifth got the wrong vote, every third one a second judge, and some a skip or a suggestion."""
    tasks: list[dict[str, Any]] = []
    for i, pair in enumerate(separable_pairs(number)):
        left, right = (pair.chosen, pair.rejected) if i % 2 else (pair.rejected, pair.chosen)
        better = "left" if i % 2 else "right"
        chance = hashlib.sha256(transcript(pair.prompt).encode()).digest()
        suggestion = {**vote(better), "to_name": "answer1"}["result"]
        task: dict[str, Any] = {
            "id": i + 1,
            "data": {
                "prompt": pair.prompt,
                "answer1": left,
                "answer2": right,
                "topic": ("billing", "travel", "law")[chance[7] % 3],
            },
            "predictions": [],
        }
        if version and chance[5] % 3:
            task["predictions"] = [{"id": 5000 + i, "result": suggestion, "score": 0.7, "model_version": version}]
        task["annotations"] = [
            _annotation(
                1000 + 10 * i + judge, better if chance[judge] > 62 else _other(better), judge, chance, task["predictions"]
            )
            for judge in ([1, 2] if i % 3 == 0 else [1 + i % 4])
        ]
        if i % 17 == 0:
            task["annotations"].append({**vote(better), "id": 9000 + i, "was_cancelled": True, "result": [], "completed_by": 3})
        tasks.append(task)
    return tasks


def _annotation(number: int, side: str, judge: int, chance: bytes, predictions: list[dict[str, Any]]) -> dict[str, Any]:
    side = "left" if judge == 4 else side  # who does not look
    return {
        **vote(side), "id": number, "completed_by": judge, "lead_time": 4.0 + chance[judge + 8] / 8 + 3 * judge,
        "created_at": "2026-11-20T10:00:00Z", "parent_prediction": predictions[0]["id"] if predictions and judge != 3 else None,
    }  # fmt: skip


def _other(side: str) -> str:
    return "right" if side == "left" else "left"
