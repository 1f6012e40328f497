"""pairloop-backend as a process of its own."""

import os
import signal
import subprocess
from pathlib import Path

from demo.stack import PROGRAMS
from preference.settings import Settings
from tests.support.filling_house import House
from tests.support.forked import Forked
from tests.support.studio_double import KEY


def environ(settings: Settings, **changes: str) -> dict[str, str]:
    ours = {
        "LABEL_STUDIO_URL": settings.studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(settings.model_dir),
        "GENERATOR_ENGINE": "echo", "DEVICE": "cpu", "TORCH_THREADS": "1", "CONTROL_PERCENT": "0",
    }  # fmt: skip
    return {**ours, **changes}


class Command:
    """pairloop-backend in a process of its own."""

    def __init__(self, house: House, *arguments: object, output: Path, **changes: str) -> None:
        """`output`: the file that takes what it prints, or a terminal."""
        self._output = output
        self._command = [str(PROGRAMS / "pairloop-backend"), *map(str, arguments)]
        self._environ = {**os.environ, **environ(house.settings, **changes)}
        self._process: Forked | None = None

    def start(self) -> None:
        self._process = Forked(self._command, environ=self._environ, output=self._output)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once; nothing if it was not started."""
        if self._process is not None:
            self._process.kill()

    def status(self) -> int | None:
        """The exit status; None if it has not ended after a minute; then it is killed."""
        assert self._process is not None
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._process.kill()

    @property
    def printed(self) -> str:
        return self._output.read_text(encoding="utf-8")
