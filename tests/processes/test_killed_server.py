"""Real gunicorn that is killed while it fills: a worker, then the master, each in the middle of storing.

PAIRLOOP_NIGHTLY=1 kills six times, else twice.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from demo.stack import PROGRAMS, answers_up, free_port
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.probe import load_version
from tests.conftest import SettingsFactory
from tests.support.filling_house import House
from tests.support.forked import ForkedProcess
from tests.support.nightly import IS_NIGHTLY
from tests.support.studio_double import KEY, StudioDouble, wait_until

KILLS = ["worker", "master"] * (3 if IS_NIGHTLY else 1)
NUM_TASKS = 40 * len(KILLS)
UNDER_WAY = 40  # tasks: two and a half batches of the echo engine


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY))


def gunicorn(house: House, port: int, log: Path) -> ForkedProcess:
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(log.parent), "MODEL_DIR": str(house.settings.model_dir), "PORT": str(port),
        "LABEL_STUDIO_URL": house.studio.url, "LABEL_STUDIO_API_KEY": KEY, "GENERATOR_ENGINE": "echo", "DEVICE": "cpu",
        "TORCH_THREADS": "1", "WORKERS": "1", "FILL_EVERY_SECONDS": "1", "CONTROL_PERCENT": "0",
    }  # fmt: skip
    command = [str(PROGRAMS / "pairloop-backend"), "serve"]
    return ForkedProcess("the backend", command, environ, log, lambda: answers_up(f"http://127.0.0.1:{port}"))


@pytest.mark.timeout(300)
def test_after_a_kill_of_gunicorn_every_task_is_answered_and_scored_once(house: House, tiny_base: Path, tmp_path: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks, port, chance = house.add_prompts(NUM_TASKS), free_port(), random.Random(11)
    house.folder.request("fill")
    masters: list[psutil.Process] = []
    workers: list[psutil.Process] = []
    killed: list[str] = []
    each = NUM_TASKS // len(KILLS)
    moments = [each * n + chance.randrange(5, each - 5) for n in range(len(KILLS))]  # tasks that are stored by then

    def kill(request: str) -> None:
        if request.startswith("PATCH /api/tasks/") and len(killed) < len(KILLS) and len(house.patches()) >= moments[len(killed)]:
            killed.append(KILLS[len(killed)])
            workers[:] = masters[-1].children()
            (masters[-1] if killed[-1] == "master" else workers[0]).send_signal(signal.SIGKILL)

    house.studio.on_request = kill
    num_masters = KILLS.count("master")
    for n in range(num_masters + 1):
        server = gunicorn(house, port, tmp_path / f"log-{n}")
        server.start()
        masters.append(psutil.Process(server.pid))
        try:
            is_last = n == num_masters  # it ends the work, or finds that the orphans of the one before have
            if is_last:
                server.wait_until_up(timeout_seconds=60)
            wait_until(lambda: is_done(house, tasks, version) if is_last else killed.count("master") > n, seconds=100)  # noqa: B023
            if not is_last:
                _, alive = psutil.wait_procs(workers, timeout=60)
                assert alive == [], "the orphans of a killed master end by themselves"
        finally:
            status = server.stop()
        assert status == (0 if is_last else -signal.SIGKILL)
        held = [house.answers(task) for task in tasks if any(house.answers(task))]
        assert all(all(answers) for answers in held), "no task is half filled"

    assert killed == KILLS
    stored: dict[int, list[Any]] = {}
    for task, body in house.patches():
        stored.setdefault(task, []).append(body["data"])
    assert all(data == each[0] for each in stored.values() for data in each), "what was stored is not stored otherwise"
    assert sum(len(each) - 1 for each in stored.values()) <= UNDER_WAY * len(KILLS)
    assert house.versions(tasks) == [[version]] * NUM_TASKS
    model = load_version(
        house.folder, Versions(house.folder).champion() or "", device=torch.device("cpu"),
        extractor=Extractors(house.settings.model_dir, torch.device("cpu")),
    )  # fmt: skip
    assert model.score(["Why?"], ["Because."]).isfinite().all()
    assert all("Traceback" not in log.read_text() for log in tmp_path.glob("log-*"))


def is_done(house: House, tasks: list[int], version: str) -> bool:
    return house.is_answered(*tasks) and all(version in scored_by for scored_by in house.versions(tasks))
