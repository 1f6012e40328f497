"""A worker of real gunicorn that is killed while clients ask."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.reload import LABEL_CONFIG, TASKS
from demo.process import wait_until
from tests.support.server import WORKERS, Server

NUM_CLIENTS = 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def test_only_what_a_killed_worker_held_is_lost_and_its_successor_finds_the_base_in_memory(
    server: Server, tiny_base: Path
) -> None:
    version = server.promote(tiny_base)
    server.start_all()
    killed, other = server.booted()
    wait_until(lambda: server.serving() == {(killed, version), (other, version)}, timeout_seconds=120, what="the version")
    answered, lost, stop = [0] * NUM_CLIENTS, list[str](), threading.Event()

    def ask(client: int) -> None:
        body = {"tasks": TASKS[:1], "project": "1.1", "label_config": LABEL_CONFIG}
        while not stop.is_set():
            try:
                (result,) = httpx.post(f"{server.url}/predict", json=body, timeout=60).raise_for_status().json()["results"]
            except httpx.TransportError as error:
                lost.append(repr(error))
                continue
            assert result == [] or result["model_version"] == version  # [] from a worker that still loads its head
            answered[client] += 1

    clients = [threading.Thread(target=ask, args=[number]) for number in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: min(answered) > 5, timeout_seconds=60, what="answers", check=server.check)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(server.booted()) == WORKERS + 1, timeout_seconds=60, what="a successor", check=server.check)
        serving = {(pid, version) for pid in server.booted() if pid != killed}
        wait_until(lambda: server.serving() == serving, timeout_seconds=60, what="its version", check=server.check)
        before = min(answered)
        wait_until(lambda: min(answered) > before + 5, timeout_seconds=60, what="more answers", check=server.check)
    finally:
        stop.set()
        for client in clients:
            client.join()

    assert len(lost) <= NUM_CLIENTS, f"each had one request under way: {lost}"
    loaded, booting = f"loaded the base {tiny_base.name} once for all workers", "Booting worker with pid: "
    messages = [message for message in server.messages() if message == loaded or message.startswith(booting)]
    assert messages == [loaded, *(f"{booting}{pid}" for pid in server.booted())]
    assert "Traceback" not in server.log.read_text()
