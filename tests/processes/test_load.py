"""Clients of a load tool against real gunicorn: nothing fails, nothing grows with the number of requests. No speed is asserted.

PAIRLOOP_NIGHTLY=1 makes it 200 clients, 5,000 events and one and a half minutes.
"""

import json
from pathlib import Path

import psutil
import pytest

from backend.contract.request_memory import MOST_BYTES
from benchmarks.largest_bodies import largest_bodies, send
from benchmarks.load import ROUTES, Figures, Load, drive
from benchmarks.servers import PROJECT, ours, serving
from demo.process import Process
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.forked import forked
from tests.support.nightly import IS_NIGHTLY
from tests.support.versions import publish_version

LOAD = (
    Load(clients=200, seconds=90, events=5_000)
    if IS_NIGHTLY
    else Load(clients=20, seconds=6, pause=0.2, events=400, burst_at=1, most_tasks=100, created=1_000, importers=5)
)
TEXTS = [[f"Question {i}: why?", "Because.", f"Because the moon looked at the cat {i} times."] for i in range(50)]
MOST_GROWTH = 300 * 2**20  # torch's buffers for the first long batches are most of it
MOST_BESIDE = 200 * 2**20  # of the largest bodies: torch's buffers, and what the allocator keeps of each kind for the next
KINDS = ("empty tasks", "tasks with short answers", "tasks with answers", "one text with an emoji", "an event's objects")
MOST_FILES = 40  # above those that were open before


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Figures, ProjectFolder, tuple[int, int]]:
    """What the clients saw, the project's folder afterwards, and (before, after) the files that the worker has open."""
    scratch = tmp_path_factory.mktemp("load")
    folder = ProjectFolder(scratch / "models", PROJECT)
    Versions(folder).promote(publish_version(folder, tiny_base, weight=1))
    texts = scratch / "texts.json"
    texts.write_text(json.dumps(TEXTS), encoding="utf-8")
    server = forked(ours(scratch, scratch / "models"))
    with serving(server, scratch / "models") as url:
        before = num_open_files(server)
        figures = drive(url, server, LOAD, texts=texts, most_bytes=8 << 30)
        after = num_open_files(server)
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log and "SIGKILL" not in log, log[-3000:]
    return figures, folder, (before, after)


def num_open_files(server: Process) -> int:
    (worker,) = psutil.Process(server.pid).children()
    return int(worker.num_fds())


def test_every_request_is_answered_and_none_with_an_error(served: tuple[Figures, ProjectFolder, tuple[int, int]]) -> None:
    figures = served[0]

    assert figures.errors == {}, "\n".join(figures.lines())
    assert set(figures.outcomes) == set(ROUTES)
    # Every event of the burst, and those of the annotators; Start Training may be refused (429) if it is asked for too often.
    assert figures.outcomes["/webhook"].total() >= LOAD.events - 1
    assert figures.outcomes["/webhook, an import"] == {"201": 1}


def test_tasks_with_answers_are_scored(served: tuple[Figures, ProjectFolder, tuple[int, int]]) -> None:
    answered, scored = served[0].tasks["/predict, 1 task"]

    assert 0 < scored <= answered


def test_events_are_coalesced(served: tuple[Figures, ProjectFolder, tuple[int, int]]) -> None:
    requests = served[1].path / "requests"

    assert {path.name for path in requests.iterdir()} <= {"train", "fill", "look"}


def test_neither_memory_nor_processes_nor_open_files_grow_with_the_requests(
    served: tuple[Figures, ProjectFolder, tuple[int, int]],
) -> None:
    memory, (before, after) = served[0].memory, served[2]

    assert memory.most - memory.before < MOST_GROWTH
    assert memory.num_processes == 2  # gunicorn's master and its worker
    assert after < before + MOST_FILES


def test_the_largest_bodies_that_are_allowed_take_what_is_stated(tmp_path: Path, tiny_base: Path) -> None:
    folder = ProjectFolder(tmp_path / "models", PROJECT)
    Versions(folder).promote(publish_version(folder, tiny_base, weight=1))
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(TEXTS), encoding="utf-8")
    server = forked(ours(tmp_path, tmp_path / "models", PREDICT_SECONDS="1"))

    with serving(server, tmp_path / "models") as url:
        peak = send(url, server, largest_bodies(texts, only=KINDS))

    for kind, statuses in peak.outcomes.items():
        assert set(statuses) <= {"200", "201", "503"} and set(statuses) & {"200", "201"}, f"{kind}: {statuses}"
    assert peak.most - peak.idle < MOST_BYTES + MOST_BESIDE
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
