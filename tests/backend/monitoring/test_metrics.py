import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from prometheus_client.parser import text_string_to_metric_families

from backend.monitoring.metrics import Metrics
from backend.monitoring.worker_counts import WorkerCounts
from preference.duels.figures import DuelFigures, write_duels
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.projects.status_files import LastAlignment, write_last_round
from preference.projects.trainer_heartbeat import mark_alive
from preference.report_card.certificate import write_certificate
from preference.report_card.shares import Share
from tests.conftest import REPOSITORY
from tests.support.certificates import CERTIFICATE
from tests.support.generator_versions import publish
from tests.support.statuses import write_counts

# What another worker is: a process that counts into the folder, says so, and waits for its end.
WORKER = """
import sys
from backend.monitoring.metrics import Metrics
metrics = Metrics()
exec(sys.argv[1])
print("counted", flush=True)
sys.stdin.read()
"""
COUNT = """
metrics.requests.labels("/predict", 200).inc(3)
metrics.seconds.labels("/predict").observe(0.15)
metrics.jobs_waiting.set(5)
metrics.tasks_answered.inc(2)
metrics.served(1, "v1-20260101-000000")
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers count; this process, which scrapes, has counted nothing there."""
    folder = tmp_path / "tallies"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    return folder


@pytest.fixture
def worker(folder: Path) -> Any:
    """Starts a worker that runs a program over `metrics`; all are ended with the test."""
    workers = []

    def start(program: str = COUNT) -> subprocess.Popen[str]:
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, program], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        assert workers[-1].stdout is not None and workers[-1].stdout.readline() == "counted\n"
        return workers[-1]

    yield start
    for process in workers:
        process.kill()
        process.communicate()


def lines(metrics: Metrics | None = None) -> list[str]:
    text = (metrics or Metrics()).text().decode()
    list(text_string_to_metric_families(text))  # Prometheus' own client reads it
    return [line for line in text.splitlines() if not line.startswith("#")]


def figure(line: str) -> float | None:
    """The value of the line that begins so; None if there is none."""
    return next((float(text.rpartition(" ")[2]) for text in lines() if text.rpartition(" ")[0] == line), None)


def test_without_gunicorn_a_processs_own_figures_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    metrics.tasks_answered.inc(3)

    assert b"pairloop_tasks_answered_total 3.0" in metrics.text()


def test_a_worker_that_is_just_starting_does_not_break_the_figures(folder: Path) -> None:
    (folder / "counter_4711.db").touch()  # prometheus-client creates the file, then gives it its size
    (folder / "histogram_4711.db").write_bytes(bytes(1 << 16))  # has its size, and no figure yet

    assert Metrics().text() == b""


def test_two_workers_figures_are_one(worker: Start) -> None:
    worker()
    worker()

    assert figure('pairloop_requests_total{route="/predict",status="200"}') == 6
    assert figure('pairloop_request_seconds_bucket{le="0.1",route="/predict"}') == 0
    assert figure('pairloop_request_seconds_bucket{le="0.2",route="/predict"}') == 2
    assert figure("pairloop_jobs_waiting") == Metrics().num_queued_prompts == 10
    assert figure('pairloop_reloads_total{outcome="served",project="1"}') == 2


def test_each_worker_shows_the_version_that_it_serves(worker: Start) -> None:
    first, second = worker(), worker(COUNT + 'metrics.served(1, "v2-20260102-000000"); metrics.served(7, "v1-20260101-000000")')

    assert {line for line in lines() if "serving" in line} == {
        f'pairloop_serving_info{{pid="{first.pid}",project="1",version="v1-20260101-000000"}} 1.0',
        f'pairloop_serving_info{{pid="{second.pid}",project="1",version="v2-20260102-000000"}} 1.0',
        f'pairloop_serving_info{{pid="{second.pid}",project="7",version="v1-20260101-000000"}} 1.0',
    }


def test_a_version_that_is_refused_is_counted_and_the_old_one_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    metrics.served(1, "v1-20260101-000000")
    metrics.refused(1)
    counted = [line for line in lines(metrics) if "created" not in line]

    assert 'pairloop_reloads_total{outcome="refused",project="1"} 1.0' in counted
    assert 'pairloop_serving_info{project="1",version="v1-20260101-000000"} 1.0' in counted


def test_a_version_that_is_served_again_after_a_rollback_is_shown_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    for version in ("v1-20260101-000000", "v2-20260102-000000", "v1-20260101-000000"):
        metrics.served(1, version)

    assert [line for line in lines(metrics) if "serving" in line] == [
        'pairloop_serving_info{project="1",version="v1-20260101-000000"} 1.0'
    ]


def test_tasks_that_cannot_be_answered_are_those_of_the_last_whole_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    for _ in range(3):
        metrics.unfillable(1, {"the model wrote nothing": 2, "prompt missing": 1})
    metrics.unfillable(2, {"prompt missing": 5})
    metrics.unfillable(1, {"prompt missing": 1})

    assert [line for line in lines(metrics) if "unfillable" in line] == [
        'pairloop_tasks_unfillable{project="1",reason="prompt missing"} 1.0',
        'pairloop_tasks_unfillable{project="2",reason="prompt missing"} 5.0',
    ]


# Workers that end


def test_a_killed_workers_counts_stay_and_its_gauges_go(worker: Start, folder: Path) -> None:
    killed, other = worker(), worker()
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    WorkerCounts(folder).end(killed.pid)

    assert figure('pairloop_requests_total{route="/predict",status="200"}') == 6
    assert figure('pairloop_request_seconds_count{route="/predict"}') == 2
    assert figure("pairloop_jobs_waiting") == 5
    assert [line for line in lines() if "serving" in line] == [
        f'pairloop_serving_info{{pid="{other.pid}",project="1",version="v1-20260101-000000"}} 1.0'
    ]


def test_a_thousand_restarts_leave_no_thousand_files_and_no_count_is_lost(worker: Start, folder: Path) -> None:
    ended = worker()
    ended.kill()
    ended.wait()
    kept = [folder / f"{kind}_{ended.pid}.db" for kind in ("counter", "histogram", "gauge_livesum", "gauge_liveall")]
    for pid in range(10**7, 10**7 + 1000):
        for path in kept:
            shutil.copy(path, folder / path.name.replace(str(ended.pid), str(pid)))
        WorkerCounts(folder).end(pid)
    WorkerCounts(folder).end(ended.pid)

    assert figure('pairloop_requests_total{route="/predict",status="200"}') == 3003
    assert figure('pairloop_request_seconds_sum{route="/predict"}') == pytest.approx(150.15)
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        "counter_0.db": 1 << 16, "histogram_0.db": 1 << 16, ".lock": 0,
    }  # fmt: skip
    assert Metrics().num_queued_prompts == 0


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, b"\x00\x10\x00\x00" + b"\xff" * 4096], ids=["empty", "short", "torn"])
def test_a_file_that_was_cut_off_costs_its_own_counts_alone(worker: Start, folder: Path, damage: bytes) -> None:
    whole = worker()
    whole.kill()
    whole.wait()
    WorkerCounts(folder).end(whole.pid)
    (folder / "counter_4711.db").write_bytes(damage)

    WorkerCounts(folder).end(4711)

    assert figure('pairloop_requests_total{route="/predict",status="200"}') == 3
    assert not (folder / "counter_4711.db").exists()


def test_counts_never_fall_while_workers_end_and_others_look(worker: Start, folder: Path) -> None:
    ended = worker()
    ended.kill()
    ended.wait()
    path = folder / f"counter_{ended.pid}.db"
    for pid in range(10**7, 10**7 + 200):
        shutil.copy(path, folder / f"counter_{pid}.db")
    program = f"from backend.monitoring.worker_counts import WorkerCounts; [WorkerCounts({str(folder)!r} and __import__('pathlib').Path({str(folder)!r})).end(pid) for pid in range(10**7, 10**7 + 200)]"
    ending = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    figures = {figure("pairloop_tasks_answered_total")}
    while ending.poll() is None:
        figures.add(figure("pairloop_tasks_answered_total"))

    assert ending.returncode == 0
    assert figures == {402.0}
    assert not list(folder.glob("counter_1*.db")) or figure("pairloop_tasks_answered_total") == 402


# How each project stands


def test_each_projects_status_is_read_at_the_time_of_the_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics, folder = Metrics(tmp_path), ProjectFolder(tmp_path, 3)
    assert "pairloop_trainer_up 0.0" in lines(metrics)
    assert not any(line.startswith(("pairloop_last", "pairloop_champion", "pairloop_judgements")) for line in lines(metrics))
    folder.create()
    ProjectFolder(tmp_path, 4).create()
    (folder.path / "champion").write_text("v2-20260101-000000\n")
    write_counts(folder, 17)
    write_last_round(folder, "rejected", reason="accuracy 0.5", version="v2-20260101-000000", seconds=12.34)
    write_duels(folder.path, [DuelFigures("g1-20260101-000000", "base", Share(0.6, (0.45, 0.73), 40)), DuelFigures("a", "b")])
    write_last_round(folder, "skipped", reason="too few", version=None, seconds=4, kind=LastAlignment)
    write_certificate(folder.path, replace(CERTIFICATE, version="v2-20260101-000000", last_vote_at=datetime.now(UTC).isoformat()))
    generator = publish(folder, promote=True)
    mark_alive(tmp_path)
    problems = ProjectProblems(tmp_path, "trainer", logging.getLogger("pairloop.daemon"))
    for part in ("look", "pass"):
        problems.note(3, part, f"Label Studio refuses the key, so no {part}")

    with FileLock(tmp_path / "trainer.lock"):
        scraped = lines(metrics)
    figures = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in scraped}

    assert figures['pairloop_judgements_waiting{project="3"}'] == 17
    assert figures['pairloop_last_round_seconds{project="3"}'] == 12.3
    assert figures['pairloop_last_alignment_seconds{project="3"}'] == 4
    assert figures['pairloop_last_alignment_timestamp_seconds{outcome="skipped",project="3"}'] > 0
    assert figures[f'pairloop_generator_info{{project="3",version="{generator}"}}'] == 1
    assert figures['pairloop_generator_win_rate{project="3"}'] == 0.7
    assert figures['pairloop_last_round_timestamp_seconds{outcome="rejected",project="3"}'] == pytest.approx(time.time(), abs=60)
    assert figures['pairloop_champion_age_seconds{project="3"}'] == pytest.approx(time.time() - 1767225600, abs=60)
    assert figures["pairloop_trainer_up"] == 1
    assert 0 <= figures["pairloop_trainer_heartbeat_age_seconds"] < 60
    assert figures['pairloop_problems{project="3"}'] == 2
    assert figures['pairloop_certificate_live{project="3"}'] == 1
    assert figures['pairloop_certified_coverage{project="3"}'] == 0.46
    met = 'new="g1-20260101-000000",other="base",project="3"'
    assert (figures[f"pairloop_duels_judged{{{met}}}"], figures[f"pairloop_duel_wins{{{met}}}"]) == (40, 0.6)
    assert 'pairloop_duel_wins{new="a",other="b",project="3"}' not in figures
    assert [line for line in scraped if 'project="4"' in line] == ['pairloop_problems{project="4"} 0.0']


def test_metrics_answer_whatever_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    folder = ProjectFolder(tmp_path, 3)
    folder.create()
    (folder.path / "champion").write_bytes(b"\xff\xfe")
    (folder.path / "last_round.json").write_text('{"at": "now", "seconds": null, "outcome": ["\\n"]}')
    (folder.path / "waiting.json").write_text("17")
    (folder.path / "filling.json").mkdir()
    ProjectFolder(tmp_path, 4).create()
    write_counts(ProjectFolder(tmp_path, 4), 2)
    metrics = Metrics(tmp_path)

    assert 'pairloop_judgements_waiting{project="4"} 2.0' in lines(metrics)
    shutil.rmtree(tmp_path / "projects")
    (tmp_path / "projects").touch()
    assert "pairloop_trainer_up 0.0" in lines(metrics)


def test_a_folder_that_somebody_swept_breaks_no_scrape(folder: Path) -> None:
    metrics = Metrics()
    shutil.rmtree(folder)

    assert (metrics.text(), metrics.num_queued_prompts) == (b"", 0)
    WorkerCounts(folder).end(4711)


def test_a_scrape_does_not_wait_for_one_that_was_halted(worker: Start, folder: Path) -> None:
    worker()
    with FileLock(folder / ".lock"):
        assert figure("pairloop_tasks_answered_total") == 2
        assert Metrics().num_queued_prompts == 5
