"""Label Studio, the backend and the trainer as processes of this machine, for the demo, the tests and the benchmarks."""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from demo.label_studio_database import LABEL_STUDIO, write_database
from demo.process import Process, StackError
from preference.projects.trainer_heartbeat import is_alive

REPOSITORY = Path(__file__).parent.parent
USER = "admin@example.com"
PASSWORD = "pairloop-demo"  # noqa: S105 - of a server that listens on loopback only
PROGRAMS = Path(sys.executable).parent  # of the environment that this runs in


class Stack:
    """The three processes over one folder: `label-studio/` (its data), `models/` (MODEL_DIR), `logs/`, `token`."""

    def __init__(self, folder: Path, *, label_studio_port: int, backend_port: int, settings: Mapping[str, str]) -> None:
        """`settings`: variables for backend and trainer, over what the stack itself sets."""
        self.folder = folder
        self.url = f"http://127.0.0.1:{label_studio_port}"
        self.backend_url = f"http://127.0.0.1:{backend_port}"
        self.model_dir = folder / "models"
        self._ports = {"Label Studio": label_studio_port, "the backend": backend_port}
        self.token = self._token()
        plain = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")}
        self.environ = {
            **plain,
            "LABEL_STUDIO_URL": self.url,
            "LABEL_STUDIO_API_KEY": self.token,
            "MODEL_DIR": str(self.model_dir),
            "HOST": "127.0.0.1",
            "PORT": str(backend_port),
            "HF_HUB_OFFLINE": "1",
            **settings,
        }
        logs = folder / "logs"
        self.label_studio = Process(
            "Label Studio",
            _label_studio_command(folder / "label-studio", label_studio_port, self.token),
            {**plain, **_LABEL_STUDIO_ENVIRON},
            logs / "label-studio.log",
            lambda: answers_up(self.url),
        )
        self.backend = Process(
            "the backend",
            [str(PROGRAMS / "pairloop-backend"), "serve"],
            self.environ,
            logs / "backend.log",
            lambda: answers_up(self.backend_url),
        )
        self.trainer = Process(
            "the trainer",
            [str(PROGRAMS / "pairloop-trainer"), "run"],
            self.environ,
            logs / "trainer.log",
            lambda: is_alive(self.model_dir),
        )

    @property
    def processes(self) -> tuple[Process, Process, Process]:
        """In the order in which they start."""
        return self.label_studio, self.backend, self.trainer

    def start_label_studio(self) -> None:
        """Starts Label Studio on its data folder, which begins with a recorded database, and waits for it.

        Raises:
            StackError: it is not installed, a port is taken, or it did not come up.
        """
        if not LABEL_STUDIO.exists():
            raise StackError("Label Studio is not installed; run `make install-label-studio`.")
        for name, port in self._ports.items():
            check_port(name, port)
        if not (self.folder / "label-studio").exists():
            write_database(self.folder / "label-studio")
        self.label_studio.start()
        self.label_studio.wait_until_up(timeout_seconds=300)

    def start_pairloop(self) -> None:
        """Starts the backend and the trainer and waits for both."""
        self.backend.start()
        self.trainer.start()
        self.backend.wait_until_up(timeout_seconds=120)
        self.trainer.wait_until_up(timeout_seconds=120)

    def check(self) -> None:
        """Raises StackError if one of the processes ended."""
        for process in self.processes:
            process.check()

    def stop(self) -> dict[str, int | None]:
        """Stops what runs, the last started first; the exit statuses by name. An impatient Ctrl-C does not cut it short."""
        handlers = {name: signal.signal(name, signal.SIG_IGN) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            return {process.name: process.stop() for process in reversed(self.processes)}
        finally:
            for name, handler in handlers.items():
                signal.signal(name, handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _token(self) -> str:
        path = self.folder / "token"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(20))
        return path.read_text()


def check_port(name: str, port: int) -> None:
    """Raises StackError if something listens on that port of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            option = "--label-studio-port" if name == "Label Studio" else "--backend-port"
            raise StackError(f"Port {port} for {name} is taken; stop what uses it, or give another with {option}.") from None


# Below those that systems give to outgoing connections (Linux: from 32768 on), which would take it before a server that starts late.
FREE_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port of this machine that nothing listens on, and that no outgoing connection gets."""
    while True:
        port = secrets.choice(FREE_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_LABEL_STUDIO_ENVIRON = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    # It refuses loopback addresses for backends and webhooks unless both are off.
    "SSRF_PROTECTION_ENABLED": "false",
    "ML_BLOCK_LOCAL_IP": "false",
}


def _label_studio_command(data: Path, port: int, token: str) -> list[str]:
    return [
        str(LABEL_STUDIO), "start", "--no-browser", "--data-dir", str(data), "--port", str(port), "--internal-host", "127.0.0.1",
        "--username", USER, "--password", PASSWORD, "--user-token", token, "--enable-legacy-api-token",
    ]  # fmt: skip


def answers_up(url: str) -> bool:
    """Whether /health of a Label Studio or of a backend says UP."""
    try:
        return bool(httpx.get(f"{url}/health", timeout=2).json().get("status") == "UP")
    except (httpx.HTTPError, ValueError):
        return False
