"""Real gunicorn with two workers, on a port of its own."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from demo.stack import REPOSITORY, Process, free_port, wait_until

WORKERS = 2


@pytest.fixture
def server(tmp_path: Path) -> Process:
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "MODEL_DIR": str(tmp_path / "models"),
        "PORT": str(port), "WORKERS": str(WORKERS), "GENERATOR_ENGINE": "echo",
    }  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    command = [str(REPOSITORY / ".venv" / "bin" / "pairloop-backend"), "serve"]
    return Process("the backend", command, {**environ, "URL": url}, tmp_path / "log", lambda: is_up(url))


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/metrics", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_worker_that_ends_takes_no_other_with_it_and_is_replaced(server: Process) -> None:
    server.start()
    try:
        server.wait_until_up(timeout_seconds=120)
        wait_until(lambda: len(booted(server)) == WORKERS, timeout_seconds=60, what="both workers")
        os.kill(booted(server)[0], signal.SIGTERM)
        wait_until(lambda: len(booted(server)) == WORKERS + 1, timeout_seconds=60, what="a new worker", check=server.check)
        wait_until(
            lambda: f"Worker exiting (pid: {booted(server)[0]})" in server.log.read_text(), timeout_seconds=60, what="its end"
        )
        for _ in range(20):
            assert is_up(server.environ["URL"])
    finally:
        status = server.stop()
    assert status == 0
    assert "Traceback" not in server.log.read_text()


def booted(server: Process) -> list[int]:
    """The process ids of the workers, as gunicorn logs them."""
    return [int(line.rsplit(" ", 1)[1]) for line in server.log.read_text().splitlines() if "Booting worker with pid" in line]
