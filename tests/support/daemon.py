"""The trainer as a process of its own."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY
from tests.support.studio_double import wait_until

eventually = partial(wait_until, seconds=100)  # a round's process takes ten seconds of one core to load


class Daemon:
    """`pairloop-trainer run` in a process of its own, and the round's process below it."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            command = [sys.executable, "-m", "trainer", "run"]
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environ}, stdout=file, stderr=file)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def round_process(self) -> psutil.Process | None:
        return next(iter(psutil.Process(self.process.pid).children()), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
