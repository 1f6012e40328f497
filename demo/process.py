"""A child process of the demo, the tests or the benchmarks, and a function that waits until something holds."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preference.errors import PairloopError


class StackError(PairloopError):
    """A process of the demo, the tests or the benchmarks did not start, or did not do what was waited for."""


@dataclass
class Process:
    """One child process, its log, and how to know that it is up."""

    name: str
    command: list[str]
    environ: Mapping[str, str]
    log: Path
    is_up: Callable[[], bool]
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts it in a session of its own, so that Ctrl-C reaches only its parent, which stops it in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command, env=dict(self.environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_up(self, *, timeout_seconds: float) -> None:
        """Returns when it is up.

        Raises:
            StackError: it ended, or was not up in time. The message ends with its log's last lines.
        """
        wait_until(self.is_up, timeout_seconds=timeout_seconds, what=f"{self.name} to be up", check=self.check)

    def check(self) -> None:
        """Raises StackError if it ended."""
        if self._child is not None and self._child.poll() is not None:
            raise StackError(f"{self.name} ended with status {self._child.returncode}; the end of {self.log}:\n{self._tail()}")

    @property
    def pid(self) -> int:
        """The process id; 0 while it is not running."""
        return self._child.pid if self._child is not None and self._child.poll() is None else 0

    def stop(self, *, timeout_seconds: float = 40) -> int | None:
        """Ends it with SIGTERM, after the time limit with SIGKILL. Returns its exit status, or None if it does not run."""
        if self._child is None:
            return None
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()
        status, self._child = self._child.returncode, None
        return status

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def wait_until(
    condition: Callable[[], bool],
    *,
    timeout_seconds: float,
    what: str,
    check: Callable[[], None] = lambda: None,
    every_seconds: float = 0.2,
) -> None:
    """Returns when `condition` holds; `check` may raise in between.

    Raises:
        StackError: it did not hold in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise StackError(f"Waited {timeout_seconds:.0f} s in vain for {what}.")
        time.sleep(every_seconds)
