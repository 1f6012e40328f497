"""Promotions under load, with real gunicorn: `make bench ONLY=reload` makes 200 of them with 1, 2 and 4 workers."""

import re
from pathlib import Path

import httpx
import pytest

from benchmarks.reload import LABEL_CONFIG, TASKS, Ride, expected_rewards, promote_under_load, torn
from benchmarks.servers import ours
from demo.process import wait_until
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.forked import forked
from tests.support.versions import publish_version

WORKERS = 2


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    folder = ProjectFolder(tmp_path / "models", 1)
    folder.create()
    return folder


def test_no_answer_fails_or_mixes_two_versions_while_versions_are_promoted(folder: ProjectFolder, tiny_base: Path) -> None:
    versions = [publish_version(folder, tiny_base, weight=weight) for weight in (1, -2, 3)]
    model_dir = folder.path.parent.parent

    server = forked(ours(model_dir, model_dir, WORKERS=str(WORKERS), LOG_LEVEL="WARNING"))

    ride: Ride = promote_under_load(
        folder, versions, server=server, workers=WORKERS, num_promotions=6, quiet_seconds=0
    )  # fmt: skip

    assert (ride.failures, ride.torn) == ([], [])
    assert len(ride.following) == 6, "every worker followed each of them"
    assert ride.num_answers > 12
    assert "Traceback" not in (model_dir / "ours.log").read_text()


def test_an_answer_that_mixes_versions_would_be_noticed(folder: ProjectFolder, tiny_base: Path) -> None:
    first, second = (publish_version(folder, tiny_base, weight=weight) for weight in (1, 2))
    rewards = expected_rewards(folder, [first, second], model_dir=folder.path.parent.parent)

    def results(version: str, of: str) -> list[dict[str, object]]:
        numbers = [[{"type": "number", "value": {"number": reward}} for reward in pair] for pair in rewards[of]]
        return [{"model_version": version, "result": regions} for regions in numbers]

    assert torn(results(first, first), rewards) is None
    assert re.match(rf"{first} gives .* the answer says", str(torn(results(first, second), rewards)))
    assert "in one answer" in str(torn([*results(first, first)[:-1], *results(second, second)[-1:]], rewards))
    assert "0 with a prediction" in str(torn([[] for _ in TASKS], rewards))


def test_a_broken_version_is_refused_by_every_worker_logged_once_and_counted(folder: ProjectFolder, tiny_base: Path) -> None:
    good, broken = (publish_version(folder, tiny_base, weight=weight) for weight in (1, 2))
    weights = Versions(folder).path(broken) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    Versions(folder).promote(good)
    model_dir = folder.path.parent.parent
    server = forked(ours(model_dir, model_dir, WORKERS=str(WORKERS)))
    url = f"http://127.0.0.1:{server.environ['PORT']}"

    def figures(outcome: str) -> float:
        match = re.search(rf'^pairloop_reloads_total{{outcome="{outcome}",project="1"}} (.*)$', metrics(url), re.MULTILINE)
        return float(match.group(1)) if match else 0.0

    server.start()
    try:
        server.wait_until_up(timeout_seconds=120)
        wait_until(lambda: figures("served") == WORKERS, timeout_seconds=120, what="both workers to serve", check=server.check)
        Versions(folder).promote(broken)
        wait_until(lambda: figures("refused") == WORKERS, timeout_seconds=60, what="both to refuse", check=server.check)
        body = {"tasks": TASKS, "project": "1.1", "label_config": LABEL_CONFIG}
        for _ in range(20):
            results = httpx.post(f"{url}/predict", json=body, timeout=60).json()["results"]
            assert {result["model_version"] for result in results} == {good}
            (problem,) = httpx.get(f"{url}/health", timeout=60).json()["problems"]
            assert problem.startswith(f"Project 1: {broken} is not served: ")
        assert (figures("served"), figures("refused")) == (WORKERS, WORKERS)
    finally:
        status = server.stop()
    assert status == 0
    logged = [line for line in server.log.read_text().splitlines() if f"{broken} is not served" in line]
    assert len(logged) == WORKERS, "once each, though each looks twice a second"
    assert all(f"{good} serves on. Promote another version." in line for line in logged)


def metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=10).text
