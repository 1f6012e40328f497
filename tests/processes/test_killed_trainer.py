"""Trainers that are killed at random moments, and started again: real processes, a real SIGKILL.

PAIRLOOP_NIGHTLY=1 kills thirty times, and the daemon as well as its round; else four times, and the round alone
(test_rounds_under_fire.py kills a daemon once).
"""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from demo.stack import PROGRAMS
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.probe import load_version
from tests.support.daemon import Daemon, eventually
from tests.support.forked import Forked
from tests.support.lab import judged_tasks
from tests.support.nightly import IS_NIGHTLY
from tests.support.studio_double import KEY, StudioDouble
from trainer.rounds.unfinished import UnfinishedRound

NUM_KILLS = 30 if IS_NIGHTLY else 2


class House:
    """Project of the double with judgements, and rounds over it."""

    def __init__(self, studio: StudioDouble, folder: Path, base: Path) -> None:
        self.studio, self.project_id = studio, studio.add_project()
        self.model_dir, self.log = folder / "models", folder / "log"
        self.folder = ProjectFolder(self.model_dir, self.project_id)
        self.folder.create()
        self.environ = {
            "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(self.model_dir), "DEVICE": "cpu",
            "REWARD_BASE": str(base), "TORCH_THREADS": "1", "MIN_PAIRS": "20", "MIN_NEW_PAIRS": "1000", "LOOK_EVERY_SECONDS": "0.2",
            "HOLDOUT_FRACTION": "0.3", "SEED": "5",
        }  # fmt: skip
        self.extractors = Extractors(self.model_dir, torch.device("cpu"))
        self._tasks = iter(judged_tasks(400))
        self.num_judged = 0

    def judge(self, count: int) -> None:
        for _ in range(count):
            task = next(self._tasks)
            (task_id,) = self.studio.add_tasks(self.project_id, task["data"])
            self.studio.annotate(task_id, task["annotations"][0]["result"])
        self.num_judged += count

    def round(self, *, killed_after: float | None = None) -> tuple[int, float]:
        """The exit status of a round, and the seconds that it took."""
        command, started = [str(PROGRAMS / "pairloop-trainer"), "once", "--json"], time.monotonic()
        process = Forked(command, environ={**os.environ, **self.environ}, output=self.log)
        with suppress(subprocess.TimeoutExpired):
            process.wait(100 if killed_after is None else killed_after)
        process.kill()
        return process.wait(), time.monotonic() - started

    def check_whole(self) -> str | None:
        """What is served, if that is whole, as all that is visible is; the champion's name."""
        for version in Versions(self.folder).all():
            load_version(self.folder, version, extractor=self.extractors, device=torch.device("cpu"))
            assert {"card.json", "README.md"} <= {path.name for path in Versions(self.folder).path(version).iterdir()}
        champion = Versions(self.folder).champion()
        assert champion is None or champion in Versions(self.folder).all()
        return champion

    def check_ended(self) -> None:
        """Whether the last round ended, on all judgements."""
        card = Versions(self.folder).card(Versions(self.folder).all()[-1])
        assert card.num_annotations == self.num_judged
        assert (card.num_train_pairs or 0) + (card.num_holdout_pairs or 0) == self.num_judged
        assert not UnfinishedRound(self.folder).folder.exists()
        assert not list(self.folder.path.glob("versions/.unfinished-*"))

    def leftovers(self) -> list[Path]:
        return [path for path in self.model_dir.rglob(".*") if path.name != ".lock"]


@pytest.mark.timeout(600)
def test_a_round_killed_at_any_moment_loses_no_judgement_and_is_ended_by_the_next(
    studio: StudioDouble, tiny_base: Path, tmp_path: Path
) -> None:
    house, chance = House(studio, tmp_path, tiny_base), random.Random(5)
    house.judge(60)
    assert house.round()[0] == 0, house.log.read_text()
    house.check_ended()
    assert (first := house.check_whole()) is not None
    house.judge(2)
    status, seconds = house.round()  # the first one took longer: it computed the features of all tasks
    assert status == 0, house.log.read_text()
    num_killed = 0

    for n in range(NUM_KILLS):
        house.judge(2)
        # Spread over the round, and seeded; a round that was quicker than that one has ended.
        killed, _ = house.round(killed_after=seconds * (n + chance.random()) / NUM_KILLS)
        num_killed += killed == -signal.SIGKILL
        assert house.check_whole() is not None
        if n % 2:  # twice in a row, then it ends
            assert house.round()[0] == 0, house.log.read_text()
            house.check_whole()
            house.check_ended()

    assert num_killed >= NUM_KILLS // 2
    assert first in Versions(house.folder).all()
    assert "Traceback" not in house.log.read_text()
    assert len(house.leftovers()) <= 2 * num_killed
    for leftover in house.leftovers():
        os.utime(leftover, (0, 0))
    assert house.round()[0] == 0
    assert house.leftovers() == []


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not IS_NIGHTLY, reason="minutes of loading torch; PAIRLOOP_NIGHTLY=1 runs it")
def test_after_a_kill_of_the_daemon_at_any_moment_the_round_is_ended(
    studio: StudioDouble, tiny_base: Path, tmp_path: Path
) -> None:
    house, chance = House(studio, tmp_path, tiny_base), random.Random(7)
    house.judge(60)

    for n in range(8):
        house.judge(2)
        num_versions = len(Versions(house.folder).all())
        house.folder.request("train")
        daemon = Daemon(house.environ, house.log)
        running: psutil.Process | None = None
        try:
            eventually(lambda: daemon.round_process() is not None)  # noqa: B023 - ends before the next
            running = daemon.round_process()
            time.sleep(chance.uniform(0, 14))  # the most of it loads
            if n % 2 and running is not None:
                running.kill()
            daemon.kill()
            house.check_whole()
            daemon = Daemon(house.environ, house.log)
            eventually(lambda: len(Versions(house.folder).all()) > num_versions)  # noqa: B023
            eventually(lambda: daemon.log.count("trainer up") == 2 * n + 2)  # noqa: B023 - it can hear a signal
            eventually(lambda: not UnfinishedRound(house.folder).exists)
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(60) == 0
        finally:
            daemon.kill()
            if running is not None and running.is_running():
                running.kill()
        house.check_whole()
        house.check_ended()
