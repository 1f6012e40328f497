"""Processes of Pairloop that are forked from one that has imported torch, transformers and trl, which takes 12 s of a core.

That one imports others' packages only, and computes nothing. So a child begins as a program does, but for these imports.
Start-up itself is tested with fresh interpreters.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import cast

from demo.process import Process
from demo.stack import REPOSITORY


def processes() -> ForkServerContext:
    """What starts functions in processes that are forked so."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.heavy_imports"])
    return context


class Forked:
    """A child process: so much of subprocess.Popen as `Process` uses."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        cwd: Path = REPOSITORY,
        daemon: bool = True,
    ) -> None:
        """`command`: the path of a Python script, or `-c` and a program; then its arguments.

        Without `errors`, all that it prints goes to `output`. A `daemon` is killed when this process ends; it may not start
        processes by multiprocessing.
        """
        self._process = processes().Process(
            target=_run, args=[list(command), dict(environ), str(cwd), str(output), str(errors or output)], daemon=daemon
        )
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Its exit status, -N if signal N ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it ended.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedProcess(Process):
    """A `Process` whose command is a Python script."""

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        child = Forked(self.command, environ=self.environ, output=self.log)
        self._child = cast("subprocess.Popen[bytes]", child)


def forked(process: Process) -> ForkedProcess:
    """The same process, not started yet, to be forked."""
    return ForkedProcess(process.name, process.command, process.environ, process.log, process.is_up)


def run_forked(
    program: str,
    *arguments: object,
    environ: Mapping[str, str] = os.environ,
    cwd: Path = REPOSITORY,
    timeout_seconds: float = 200,
) -> "subprocess.CompletedProcess[str]":
    """Runs a program of Python to its end, as `python -c` does, and returns what it printed.

    Raises:
        subprocess.TimeoutExpired: it did not end in time; it is killed.
    """
    command = ["-c", program, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        child = Forked(command, environ=environ, output=output, errors=errors, cwd=cwd, daemon=False)
        try:
            status = child.wait(timeout_seconds)
        finally:
            child.kill()
        return subprocess.CompletedProcess(command, status, output.read_text("utf-8"), errors.read_text("utf-8"))


def _run(command: list[str], environ: dict[str, str], cwd: str, output: str, errors: str) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None  # TMPDIR may be another one
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o666)
        os.dup2(file, descriptor)
        os.close(file)
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
