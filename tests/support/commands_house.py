"""pairloop-backend as a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from backend.__main__ import main
from preference.settings import Settings
from tests.support.filling_house import House
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
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(
            ["backend.__main__", "backend.commands.fill", "tests.support.filling_house"]
        )  # which takes seconds
        self._output = output
        self._process = processes.Process(
            target=run_command, args=[list(map(str, arguments)), environ(house.settings, **changes), output], daemon=True
        )

    def start(self) -> None:
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()

    def status(self) -> int | None:
        """The exit status; None if it has not ended after a minute; then it is killed."""
        self._process.join(60)
        status = self._process.exitcode
        self._process.kill()
        return status

    @property
    def printed(self) -> str:
        return self._output.read_text(encoding="utf-8")


def run_command(arguments: Sequence[str], environ: dict[str, str], output: Path) -> None:
    os.environ.update(environ)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    main(arguments)
