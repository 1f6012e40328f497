"""The backend under gunicorn, as a process of its own."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from demo.process import wait_until
from demo.stack import PROGRAMS, free_port
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.forked import ForkedProcess
from tests.support.versions import publish_version

WORKERS = 2


class Server(ForkedProcess):
    """The backend, and what its log and its answers say. The log is JSON."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url, self.port, self.model_dir = f"http://127.0.0.1:{port}", port, folder / "models"
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "MODEL_DIR": str(self.model_dir),
            "PORT": str(port), "WORKERS": str(WORKERS), "GENERATOR_ENGINE": "echo", "LOG_FORMAT": "json",
            "DEVICE": "cpu", "TORCH_THREADS": "1", "HF_HUB_OFFLINE": "1", "CONTROL_PERCENT": "0",
        }  # fmt: skip
        command = [str(PROGRAMS / "pairloop-backend"), "serve"]
        super().__init__("the backend", command, environ, folder / "log", self.is_answering)

    def is_answering(self) -> bool:
        try:
            return httpx.get(f"{self.url}/versions", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def start_all(self) -> None:
        """Returns when every worker answers: each keeps a file of the seconds that its answers took."""
        self.start()
        self.wait_until_up(timeout_seconds=120)

        def have_answered() -> bool:
            return self.is_answering() and len(self.tallies("histogram")) == WORKERS

        wait_until(have_answered, timeout_seconds=120, what="both workers", check=self.check, every_seconds=0.05)

    def tallies(self, kind: str) -> list[str]:
        return [path.name for path in self.log.parent.glob(f"pairloop-metrics-*/{kind}_*.db")]

    def gauges(self) -> set[int]:
        """The process ids of the workers whose gauges are shown."""
        return {int(name.rpartition("_")[2].removesuffix(".db")) for name in self.tallies("gauge")}

    def messages(self) -> list[str]:
        """What was logged so far; each line is an object."""
        return [json.loads(line)["message"] for line in self.log.read_text().splitlines()]

    def booted(self) -> list[int]:
        """The process ids of the workers, as gunicorn logs them."""
        return [int(message.rsplit(" ", 1)[1]) for message in self.messages() if message.startswith("Booting worker with pid: ")]

    def figure(self, name: str) -> float:
        """A figure of /metrics; 0 if there is none."""
        lines = httpx.get(f"{self.url}/metrics", timeout=10).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == f"pairloop_{name}"), 0.0)

    def serving(self) -> set[tuple[int, str]]:
        """Each worker's process id with the version that it serves."""
        text = httpx.get(f"{self.url}/metrics", timeout=10).text
        served = re.findall(r'^pairloop_serving_info\{pid="(\d+)",project="1",version="([^"]+)"\} 1.0$', text, re.MULTILINE)
        return {(int(pid), version) for pid, version in served}

    def promote(self, base: Path, *, project: int = 1) -> str:
        folder = ProjectFolder(self.model_dir, project)
        version = publish_version(folder, base, weight=1)
        Versions(folder).promote(version)
        return version

    @contextmanager
    def stalled(self) -> Iterator[Callable[[], bool]]:
        """Sends a request whose body never arrives whole, and which a worker has begun; gives what waits for its end."""
        stalled = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n"

        def is_closed() -> bool:
            with suppress(ConnectionResetError):
                return not stalled.recv(1000)
            return True

        with stalled:
            stalled.sendall(head.encode())
            assert stalled.recv(1000).startswith(b"HTTP/1.1 100")  # so the head was read
            stalled.sendall(b"{")
            yield is_closed
