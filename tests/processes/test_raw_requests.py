"""A real server with two workers, open to the network: raw requests, and what all its workers have to share."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.contract.request_bodies import MAX_BYTES
from backend.contract.training_limit import MOST_AN_HOUR
from demo.process import wait_until
from demo.stack import PROGRAMS, free_port
from preference.projects.folder import ProjectFolder
from tests.support.forked import ForkedProcess
from tests.support.studio_double import CALLS


class OpenServer:
    """The server, and its log."""

    def __init__(self, folder: Path) -> None:
        self.port, self.log, self.model_dir = free_port(), folder / "log", folder / "models"
        self.url = f"http://127.0.0.1:{self.port}"
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "MODEL_DIR": str(self.model_dir),
            "HOST": "0.0.0.0", "PORT": str(self.port), "WORKERS": "2", "GENERATOR_ENGINE": "echo", "LOG_LEVEL": "ERROR",
            "TORCH_THREADS": "1",
        }  # fmt: skip
        command = [str(PROGRAMS / "pairloop-backend"), "serve"]
        self.process = ForkedProcess("the backend", command, environ, self.log, self.is_up)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def send(self, *pieces: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to raw bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as line:
            for piece in pieces:
                line.sendall(piece)
            received = b""
            while more := line.recv(65_536):
                received += more
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    server = OpenServer(tmp_path_factory.mktemp("server"))
    server.process.start()
    try:
        server.process.wait_until_up(timeout_seconds=120)
        yield server
    finally:
        server.process.stop()


def head(path: str, *lines: str) -> bytes:
    fixed = ["Host: 127.0.0.1", "Connection: close", "Content-Type: application/json"]
    return "\r\n".join([f"POST {path} HTTP/1.1", *fixed, *lines, "", ""]).encode()


def chunks(*texts: bytes) -> bytes:
    return b"".join(f"{len(text):x}\r\n".encode() + text + b"\r\n" for text in [*texts, b""])


def test_a_server_that_is_open_to_the_network_says_so_once_whatever_it_logs(server: OpenServer) -> None:
    lines = [line for line in server.log.read_text(encoding="utf-8").splitlines() if "open to the network" in line]

    assert len(lines) == 1
    assert "CRITICAL" in lines[0] and "set BASIC_AUTH_USER and BASIC_AUTH_PASS, or HOST=127.0.0.1" in lines[0]


def test_a_body_in_chunks_is_read_like_any_other(server: OpenServer) -> None:
    body = json.dumps(CALLS["TASKS_CREATED"]).encode()

    status, answer = server.send(head("/webhook", "Transfer-Encoding: chunked"), chunks(body[:100], body[100:]))

    assert (status, json.loads(answer)) == (201, {"status": "queued"})


def test_chunks_without_end_are_refused_at_the_limit(server: OpenServer) -> None:
    sent = chunks(*[b" " * 2**20] * 17)

    status, answer = server.send(head("/setup", "Transfer-Encoding: chunked"), sent)

    assert status == 413 and list(json.loads(answer)) == ["error"]


@pytest.mark.parametrize("path", ["/predict", "/webhook", "/setup"])
def test_whoever_sends_all_of_a_body_that_is_too_long_before_reading_reads_the_refusal(server: OpenServer, path: str) -> None:
    """As Label Studio does; a connection that is closed while it sends is all that its user would be shown."""
    body = b" " * (MAX_BYTES + 1)

    for sent in ((head(path, f"Content-Length: {len(body)}"), body), (head(path, "Transfer-Encoding: chunked"), chunks(body))):
        status, answer = server.send(*sent)
        assert status == 413
        assert json.loads(answer)["error"].endswith("send fewer tasks at a time.")


def test_whatever_is_refused_unread_is_read_to_its_end(server: OpenServer) -> None:
    body = b" " * 2**24

    assert server.send(head("/nowhere", f"Content-Length: {len(body)}"), body)[0] == 404
    other_type = head("/predict", f"Content-Length: {len(body)}").replace(b"application/json", b"text/plain")
    assert server.send(other_type, body)[0] == 415


@pytest.mark.parametrize(
    "sent",
    [b"zz\r\n", b"\r\n", b"2\r\n{}no end", b"2;\r=\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n"],
    ids=["size", "no size", "end", "extension", "trailer"],
)
@pytest.mark.parametrize("path", ["/setup", "/webhook"])
def test_malformed_chunks_are_refused_in_json(server: OpenServer, path: str, sent: bytes) -> None:
    status, answer = server.send(head(path, "Transfer-Encoding: chunked"), sent)

    assert (status, json.loads(answer)) == (400, {"error": "The body's chunks are malformed."})


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[" * 200_000, b'{"project": NaN}'], ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_a_raw_body_that_is_wrong_is_refused_in_json(server: OpenServer, path: str, body: bytes) -> None:
    for sent in (head(path, f"Content-Length: {len(body)}") + body, head(path, "Transfer-Encoding: chunked") + chunks(body)):
        status, answer = server.send(sent)
        assert status == 400 and list(json.loads(answer)) == ["error"]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/../app.py", "/versions/%00", "//x"])
def test_a_path_that_leads_out_leads_nowhere(server: OpenServer, path: str) -> None:
    status, answer = server.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))

    assert status == 404 and list(json.loads(answer)) == ["error"]


def test_a_flood_of_training_requests_is_limited_whichever_worker_gets_them(server: OpenServer) -> None:
    folder = ProjectFolder(server.model_dir, 10)
    statuses = []
    for _ in range(3 * MOST_AN_HOUR):  # each on a connection of its own, so both workers get some
        statuses.append(httpx.post(f"{server.url}/webhook", json=CALLS["START_TRAINING"]).status_code)
        folder.take_request("train")  # as the trainer does

    assert statuses == [201] * MOST_AN_HOUR + [429] * 2 * MOST_AN_HOUR


def test_after_all_these_requests_the_log_holds_no_trace_and_the_server_is_up(server: OpenServer) -> None:
    wait_until(server.is_up, timeout_seconds=20, what="the server")

    assert "Traceback" not in server.log.read_text(encoding="utf-8")
