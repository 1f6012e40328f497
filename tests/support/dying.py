"""Processes that die of SIGKILL at each step of what they do to files, one after the other.

`python -m tests.support.dying ACTION FOLDER ...` does an action of ACTIONS once for each of its steps, in a child that is killed there,
on a fresh copy of FOLDER; later another process does it to the end; then come the next action and folder. It prints a line of JSON for
each: what lay there after the kill, and after the end. A step: before each call that touches a file; what such a call leaves is what
the next one finds. Loads no torch, so that a child costs milliseconds.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from preference.labelling.pairs import PreferencePair
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import Filling, write_filling
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.feature_cache import FeatureCache, prune_features
from trainer.rounds.unfinished import Snapshot, UnfinishedRound

_TOUCHES = {
    "open", "write", "writelines", "close", "__exit__", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "sendfile",
    "copy_file_range", "flock", "chmod", "utime", "truncate", "ftruncate", "symlink", "link",
}  # fmt: skip
CARD = ReportCard(
    3, "frozen", "a base", 9, 8, 1, promoted=True, reason="better", probe={"prompt": "", "answer": "", "reward": 0.0}
)
ROW = np.arange(50, dtype=np.float32)
Action = Callable[[Path], object]


def publish(folder: Path) -> None:
    """v3 from what lies in `drafts`."""
    Versions(ProjectFolder(folder, 3)).publish(folder / "draft", CARD)


def promote(model_dir: Path) -> None:
    """v2 in the place of v1."""
    folder = ProjectFolder(model_dir, 3)
    Versions(folder).promote(Versions(folder).all()[1])


def rollback(model_dir: Path) -> None:
    """v1 again."""
    folder = ProjectFolder(model_dir, 3)
    if Versions(folder).champion() == Versions(folder).all()[1]:
        Versions(folder).rollback()


def cache(folder: Path) -> None:
    """One feature."""
    FeatureCache(folder, "key", size=ROW.size).keep([("Why?", "Because.")], [ROW])


def fill(folder: Path) -> None:
    """How far the filling is."""
    write_filling(ProjectFolder(folder, 3), Filling(tasks_left=7))


def begin(folder: Path) -> None:
    """A round that notes what it trains on, and ends."""
    unfinished = UnfinishedRound(ProjectFolder(folder, 3))
    unfinished.begin()
    unfinished.keep(Snapshot([PreferencePair("Why?", "Because.", "No.")], 1, {}, {"seed": 0}))
    unfinished.remove()


ACTIONS: dict[str, Action] = {action.__name__: action for action in (publish, promote, rollback, cache, fill, begin)}


def contents(model_dir: Path) -> dict[str, Any]:
    """What another process finds."""
    folder, into, unfinished = ProjectFolder(model_dir, 3), np.zeros_like(ROW), UnfinishedRound(ProjectFolder(model_dir, 3))
    is_cached = bool(FeatureCache(model_dir, "key", size=ROW.size).read([("Why?", "Because.")], into=[into])[0])
    versions = {}
    for version in Versions(folder).all():
        files = {
            path.name: path.read_bytes() for path in Versions(folder).path(version).iterdir() if path.suffix == ".safetensors"
        }
        versions[version] = Versions(folder).card(version).version == version and list(map(len, files.values())) == [5_000]
    snapshot = unfinished.snapshot()
    return {
        "champion": Versions(folder).champion(), "versions": versions, "progress": Filling.read(folder.path).model_dump(include={"tasks_left"}, exclude_none=True),
        "is_cached": is_cached, "is_right": not is_cached or bool((into == ROW).all()),
        "attempts": unfinished.num_attempts, "pairs": None if snapshot is None else len(snapshot.pairs),
        "leftovers": sorted(
            str(path.relative_to(model_dir)) for path in model_dir.rglob("*")
            if (path.name.startswith(".") and path.name != ".lock") or path.suffix == ".unfinished"
        ),
    }  # fmt: skip


def dies_at(step: int, action: Action, folder: Path) -> bool:
    """Whether a child process reached its `step`-th step, and died there."""
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status != 0
    num_steps = 0

    def count(frame: Any, event: str, function: Any) -> None:
        nonlocal num_steps
        if event == "c_call" and function.__name__ in _TOUCHES:
            num_steps += 1
            if num_steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    action(folder)
    sys.setprofile(None)
    os._exit(0)


def main(name: str, template: Path) -> None:
    with TemporaryDirectory() as scratch:
        step, is_over = 1, False
        while not is_over:
            folder = Path(scratch) / str(step)
            shutil.copytree(template, folder)
            is_over = not dies_at(step, ACTIONS[name], folder)
            after = contents(folder)
            for leftover in after["leftovers"]:
                os.utime(folder / leftover, (0, 0))  # it has lain there for long
            if not is_over:
                ACTIONS[name](folder)
                prune_features(folder, most_bytes=300)  # of one feature
            outcome = {"action": name, "step": step, "is_over": is_over, "after": after, "again": contents(folder)}
            sys.stdout.write(json.dumps(outcome) + "\n")
            shutil.rmtree(folder)
            step += 1


if __name__ == "__main__":
    for name, template in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        main(name, Path(template))
