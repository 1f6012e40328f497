"""A whole installation on the double of Label Studio, for the tests of connect and doctor."""

import json
import re
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import certifi
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from backend.__main__ import main
from backend.serving.process import Backend
from backend.web.app import create_app
from demo.stack import free_port
from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import mark_alive
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version
from trainer.__main__ import main as trainer_main

SECRET, PASSWORD = "s3cret-of-the-webhook", "pass-of-the-backend"
Row = dict[str, Any]


class Clinic:
    """A whole installation: the double, which calls its backends; a backend over HTTP; a trainer's heartbeat; a project."""

    def __init__(self, studio: StudioDouble, folder: Path) -> None:
        self.studio, self.port = studio, free_port()
        studio.calls_backends = True
        self.model_dir = folder / "models"
        self.model_dir.mkdir()
        self.address = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(self.model_dir), "DEVICE": "cpu",
            "PORT": str(self.port), "GENERATOR_ENGINE": "echo", "CONTROL_PERCENT": "0", "TORCH_THREADS": "1", "WEBHOOK_SECRET": SECRET,
            "BASIC_AUTH_USER": "ls", "BASIC_AUTH_PASS": PASSWORD, "SSL_CERT_FILE": str(one_certificate(folder)),
        }  # fmt: skip
        self.id = studio.add_project(title="Preferences")
        self.folder = ProjectFolder(self.model_dir, self.id)
        self.has_trainer = True
        self._stop: Callable[[], None] = lambda: None
        self.printed = ""

    def __enter__(self) -> Self:
        self.serve()
        assert self.run("connect", "--project", self.id).exit_code == 0
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        assert "Traceback" not in self.printed
        for secret in (KEY, SECRET, PASSWORD):
            assert secret not in self.printed

    def serve(self, **changes: str) -> None:
        """Starts the backend, without the filler, which sets a title right by itself."""
        backend = Backend(Settings.from_environ({**self.environ, **changes}))
        backend.champions.of(self.id).refresh()
        server = make_server("127.0.0.1", self.port, create_app(backend), threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()
            self._stop = lambda: None

        self._stop = stop

    def end(self) -> None:
        """Stops the backend if it runs."""
        self._stop()

    def serve_again(self, **changes: str) -> None:
        self.end()
        self.serve(**changes)

    def run(self, *arguments: object, command: Any = main, typed: str | None = None, **changes: str) -> Result:
        if self.has_trainer:
            mark_alive(self.model_dir)  # it counts for 15 seconds, and a test may take longer
        result = CliRunner().invoke(
            command, [str(argument) for argument in arguments], env={**self.environ, **changes}, input=typed
        )
        self.printed += result.output
        return result

    def doctor(self, **changes: str) -> dict[str, Row]:
        """Each check's row."""
        result = self.run("doctor", "--project", self.id, "--json", **changes)
        rows: list[Row] = json.loads(result.stdout)
        assert all(list(row) == ["check", "ok", "found", "fix"] for row in rows)
        crosses = [row for row in rows if row["ok"] is False]
        assert result.exit_code == (1 if crosses else 0)
        assert all(row["fix"] for row in crosses), "a cross says what to do"
        assert not any(row["fix"] for row in rows if row["ok"] is not False)
        return {row["check"]: row for row in rows}

    def crosses(self, **changes: str) -> dict[str, Row]:
        return {name: row for name, row in self.doctor(**changes).items() if row["ok"] is False}

    def cross(self, **changes: str) -> Row:
        """The one that there is."""
        (row,) = self.crosses(**changes).values()
        return row

    def follow(self, row: Row, **changes: str) -> None:
        """Types the command that it advises."""
        match = re.search(r"pairloop-(backend|trainer) ([a-z]+ --project \d+[ \w-]*)", row["fix"])
        assert match, row["fix"]
        command = {"backend": main, "trainer": trainer_main}[match[1]]
        result = self.run(*shlex.split(match[2]), command=command, **changes)
        assert result.exit_code == 0, result.output

    def is_well(self, **changes: str) -> bool:
        return not self.crosses(**changes)

    def promote(self, base: Path, *, weight: float = 1) -> str:
        version = publish_version(self.folder, base, weight=weight)
        Versions(self.folder).promote(version)
        return version

    @property
    def row(self) -> Row:
        (row,) = self.studio.rows.values()
        return row

    @property
    def hook(self) -> Row:
        (hook,) = self.studio.hooks.values()
        return hook


def one_certificate(folder: Path) -> Path:
    """A file for httpx, which reads those of every authority for each client: most of what a doctor's visit takes."""
    end = "-----END CERTIFICATE-----\n"
    path = folder / "certificate.pem"
    path.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(end)[0] + end, encoding="utf-8")
    return path
