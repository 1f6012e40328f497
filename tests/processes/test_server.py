"""Real gunicorn with two workers, on a port of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.web.gunicorn_server import DRAIN_SECONDS, tallies_folder
from demo.process import wait_until
from demo.stack import REPOSITORY
from preference.projects.folder import ProjectFolder
from preference.reward_model.feature_cache import FeatureCache
from tests.support.nightly import IS_NIGHTLY
from tests.support.server import WORKERS, Server
from tests.support.studio_double import KEY, StudioDouble
from tests.support.studio_records import LABEL_CONFIG


@pytest.fixture
def server(tmp_path: Path) -> Any:
    server = Server(tmp_path)
    yield server
    server.stop()


def assert_ended_well(server: Server) -> None:
    """It ended by itself, with status 0, one object a line, and no trace."""
    wait_until(lambda: server.pid == 0, timeout_seconds=DRAIN_SECONDS + 15, what="its end", every_seconds=0.05)
    assert server.stop() == 0
    assert server.messages()[-1] == "Shutting down: Master"
    assert "Traceback" not in server.log.read_text()
    assert not list(server.log.parent.glob("pairloop-metrics-*"))


def test_ended_workers_are_replaced_and_counted_and_a_second_signal_ends_at_once(server: Server, tiny_base: Path) -> None:
    first = server.promote(tiny_base)
    server.start_all()
    ended, killed = server.booted()
    wait_until(lambda: server.serving() == {(ended, first), (killed, first)}, timeout_seconds=120, what="the version")
    second = server.promote(tiny_base)
    wait_until(lambda: server.serving() == {(ended, second), (killed, second)}, timeout_seconds=120, what="the next version")
    reloads = 'reloads_total{outcome="served",project="1"}'
    assert server.figure(reloads) == 2 * WORKERS
    for _ in range(20):
        httpx.get(f"{server.url}/nowhere", timeout=10)
    unknown = 'requests_total{route="other",status="404"}'
    assert server.figure(unknown) == 20

    os.kill(ended, signal.SIGTERM)
    wait_until(lambda: len(server.booted()) == WORKERS + 1, timeout_seconds=120, what="a new worker", check=server.check)
    wait_until(lambda: f"Worker exiting (pid: {ended})" in server.messages(), timeout_seconds=120, what="its end")
    wait_until(lambda: ended not in server.gauges(), timeout_seconds=120, what="the end of its gauges")
    for _ in range(20):
        assert server.is_answering()
    assert f"Worker exiting (pid: {killed})" not in server.messages()  # it takes no other with it
    assert server.figure(unknown) == 20

    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(server.booted()) == WORKERS + 2, timeout_seconds=120, what="another", check=server.check)
    new = set(server.booted()) - {ended, killed}
    wait_until(server.is_answering, timeout_seconds=120, what="an answer", check=server.check)
    wait_until(lambda: server.serving() == {(pid, second) for pid in new}, timeout_seconds=120, what="their version")
    assert server.gauges() == new
    assert server.figure(unknown) == 20
    assert server.figure(reloads) == 3 * WORKERS

    with server.stalled() as is_closed:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.messages(), timeout_seconds=20, what="the signal")
        server.check()  # it waits for the request that is in flight
        os.kill(server.pid, signal.SIGTERM)
        assert is_closed()
    assert_ended_well(server)
    assert "Quick shutdown requested" in server.messages()


@pytest.mark.parametrize("number", [signal.SIGTERM, *([signal.SIGINT] if IS_NIGHTLY else [])])
def test_a_server_that_ends_answers_its_requests_and_stores_whole_answers(server: Server, tiny_base: Path, number: int) -> None:
    num_clients, num_tasks = 4, 2000
    with StudioDouble() as studio, ThreadPoolExecutor(num_clients) as clients:
        server.environ = {**server.environ, "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY}
        project = studio.add_project()
        version = server.promote(tiny_base, project=project)
        server.start_all()
        wait_until(lambda: _is_suggesting(server, project), timeout_seconds=120, what="the version", check=server.check)
        filled = studio.add_tasks(project, *({"prompt": f"Prompt {n}", "answer1": "", "answer2": ""} for n in range(5000)))
        ProjectFolder(server.model_dir, project).request("fill")
        wait_until(lambda: _is_filled(studio, filled[0]), timeout_seconds=120, what="filling", every_seconds=0.02)
        prompts = {f"client {place}": threading.Event() for place in range(num_clients)}
        answers = [clients.submit(_predict, server, project, prompt, num_tasks, is_sent) for prompt, is_sent in prompts.items()]
        for is_sent in prompts.values():
            assert is_sent.wait(120), "a request that is not with the server yet is nobody's to answer"
        wait_until(
            lambda: any(_is_scored(server, p, 40) for p in prompts), timeout_seconds=120, what="scoring", every_seconds=0.02
        )

        os.kill(server.pid, number)
        results = [answer.result().json()["results"] for answer in answers]
        assert_ended_well(server)

    for result in results:
        assert len(result) == num_tasks
        assert {entry["model_version"] for entry in result if entry} <= {version}
        assert not result[-1], "the request was over before the signal; it should be larger"
    assert 5 < sum(_is_filled(studio, task) for task in filled) < 5000


def _predict(server: Server, project: int, prompt: str, num_tasks: int, is_sent: threading.Event) -> httpx.Response:
    """On a connection that a worker has taken already, as Label Studio's is. `is_sent` is set when it was sent."""
    data = [{"prompt": prompt, "answer1": f"{number} " * 30, "answer2": f"or {number}"} for number in range(num_tasks)]
    tasks = [{"id": number + 1, "data": fields} for number, fields in enumerate(data)]
    with httpx.Client(base_url=server.url, timeout=DRAIN_SECONDS + 120) as client:
        client.get("/health")
        body = json.dumps({"tasks": tasks, "project": f"{project}.1", "label_config": LABEL_CONFIG}).encode()

        def sending() -> Iterator[bytes]:
            yield body
            is_sent.set()  # all but what the sockets hold was read

        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = client.post("/predict", content=sending(), headers=headers)
    return answer.raise_for_status()


def _is_scored(server: Server, prompt: str, number: int) -> bool:
    """Whether the backend has reached this task of a `_predict`."""
    return any(
        FeatureCache(server.model_dir, path.parent.name, size=int(path.stem.partition("-")[2])).has(prompt, f"or {number}")
        for path in server.model_dir.glob("features/*/*.index")
    )


def _is_suggesting(server: Server, project: int) -> bool:
    """Whether the champion is loaded, by ten answers in a row, which no single worker is likely to give alone."""
    return all(_predict(server, project, "Why?", 1, threading.Event()).json()["results"][0] for _ in range(10))


def _is_filled(studio: StudioDouble, task: int) -> bool:
    """Whether both answers are stored with their record; fails if one is stored alone."""
    stored = studio.tasks[task]
    parts = {bool(stored["data"]["answer1"]), bool(stored["data"]["answer2"]), "pairloop" in (stored["meta"] or {})}
    assert len(parts) == 1
    return parts == {True}


@pytest.mark.skipif(not IS_NIGHTLY, reason="takes as long as the limit is: half a minute")
def test_a_request_that_does_not_end_is_cut_off_at_the_limit(server: Server) -> None:
    server.start_all()
    body = json.dumps({"action": "START_TRAINING", "project": {"id": 1}})
    head = f"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    folder = ProjectFolder(server.model_dir, 1)
    folder.create()
    read_by_webhook = folder.path / "rounds_asked_for.json"
    os.mkfifo(read_by_webhook)  # reading it takes as long as somebody has it open to write, as from a disk that hangs
    with socket.create_connection(("127.0.0.1", server.port), timeout=DRAIN_SECONDS + 30) as line:
        line.sendall(f"{head}{body}".encode())
        with read_by_webhook.open("wb"):  # opens when a worker reads
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            with suppress(ConnectionResetError):
                assert not line.recv(1000)
            assert time.monotonic() - began > DRAIN_SECONDS - 1
    assert_ended_well(server)


@pytest.mark.skipif(not IS_NIGHTLY, reason="a second SIGTERM does the same")
def test_quit_ends_at_once(server: Server) -> None:
    server.start_all()
    with server.stalled() as is_closed:
        os.kill(server.pid, signal.SIGQUIT)
        assert is_closed()
    assert_ended_well(server)
    assert not any(message.startswith("Worker exiting") for message in server.messages())  # nobody waited for anything


def test_a_server_that_cannot_start_says_why_in_its_log_and_ends(server: Server) -> None:
    server.environ = {**server.environ, "WORKERS": "1"}
    server.model_dir.write_text("no folder")
    server.start()
    wait_until(lambda: server.pid == 0, timeout_seconds=120, what="its end")

    assert server.stop() == 3
    why = [message for message in server.messages() if str(server.model_dir) in message]
    assert why and all(message.startswith("the worker cannot start: ") for message in why)


# The folder that workers count into


def test_folders_of_killed_servers_are_removed_and_those_in_use_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = "import time; from backend.web.gunicorn_server import tallies_folder\nwith tallies_folder() as f: print(f, flush=True); time.sleep(999)"
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    living, killed = (
        subprocess.Popen([sys.executable, "-c", program], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    folders = []
    for process in (living, killed):
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    killed.kill()
    killed.communicate()
    (tmp_path / "pairloop-metrics-other").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").mkdir()
    with tallies_folder() as just_now:
        assert folders[1].is_dir()  # it might be one that is just starting
        for folder in (*folders, just_now):
            os.utime(folder, (0, 0))
        with tallies_folder() as later:
            assert [folder.is_dir() for folder in (*folders, just_now, later)] == [True, False, True, True]
    living.kill()
    living.communicate()

    assert (tmp_path / "precious").is_dir()
    assert not just_now.exists() and not later.exists()
