"""Real gunicorn with three threads, and connections that say nothing, stop in the middle, or ask for rewards."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from demo.process import Process
from demo.stack import REPOSITORY, free_port

THREADS = 3
QUICK = """
import threading
from backend.web.gunicorn_worker import Worker

class Quick(Worker):
    arrival_seconds = 2

released = threading.Event()

def app(environ, start_response):
    given = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/score":
        released.wait(60)
    elif environ["PATH_INFO"] == "/release":
        released.set()
    if environ["PATH_INFO"] == "/slow":
        environ["gunicorn.socket"].recv(1)  # returns when arrival_seconds are over, since the client says no more
    start_response("200 OK", [("Content-Length", str(len(given)))])
    return [given]
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    tmp_path = tmp_path_factory.mktemp("waiting")
    (tmp_path / "quick.py").write_text(QUICK, encoding="utf-8")
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--no-control-socket", "--threads", str(THREADS), "--bind", f"127.0.0.1:{port}",
        "--worker-class", "quick.Quick", "quick:app",
    ]  # fmt: skip
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    server = Process("gunicorn", command, environ, tmp_path / "log", lambda: is_answered(port))
    server.start()
    try:
        server.wait_until_up(timeout_seconds=60)
        yield port
    finally:
        server.stop()
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def is_answered(port: int, *, seconds: float = 2) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=seconds).status_code == 200
    except httpx.HTTPError:
        return False


HALVES = {
    "nothing": b"",
    "half of the headers": b"POST / HTTP/1.1\r\nHost: pairloop\r\n",
    "half of the body": b"POST / HTTP/1.1\r\nHost: pairloop\r\nContent-Length: 1000\r\n\r\n{",
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES.keys())
def test_connections_that_stop_do_not_keep_others_waiting(port: int, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS if sent else THREADS * 10):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(sent)

        # gthread alone would wait as long as they stay, or ten times 5 s for those that say nothing, THREADS at a time.
        assert is_answered(port, seconds=60 if sent else 15)


def test_an_answer_that_takes_longer_than_a_request_may_is_given_whole(port: int) -> None:
    body = b"x" * 100_000

    answer = httpx.post(f"http://127.0.0.1:{port}/slow", content=body, timeout=20)

    assert (answer.status_code, answer.content) == (200, body)


def test_a_connection_that_is_kept_alive_serves_again(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        assert [client.post("/", content=b"again").content for _ in range(5)] == [b"again"] * 5


def test_requests_for_rewards_wait_in_a_line_and_leave_a_thread_to_others(port: int) -> None:
    with ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(12)]
        for connection in waiting:
            connection.sendall(b"POST /score HTTP/1.1\r\nHost: pairloop\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        assert is_answered(port, seconds=30)  # twelve of them with three threads would keep all others waiting

        assert httpx.post(f"http://127.0.0.1:{port}/release", timeout=30).status_code == 200
        for connection in waiting:
            with connection, connection.makefile("rb") as answer:  # closed at once: gunicorn waits for that, one after another
                assert answer.read().startswith(b"HTTP/1.1 200 OK\r\n")
