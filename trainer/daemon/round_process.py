"""One round, or one alignment, in a process of its own: its memory, on a GPU too, is freed, and a crash in it ends it and nothing else.

Never imports torch: the daemon lives for months, and holds nothing but this.
"""

import logging
import signal
import subprocess
import time
from collections.abc import Sequence

from preference.commands.command_line import program_command
from preference.errors import TrainingError
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from trainer.rounds.lock import busy, is_running
from trainer.rounds.outcome import Round, read_outcome, write_ended
from trainer.rounds.work import ROUND, Work

logger = logging.getLogger("pairloop.daemon")
_HINTS: dict[int, str] = {
    signal.SIGKILL: ": out of memory?",
    signal.SIGSEGV: ": a crash in native code",
    signal.SIGABRT: ": a crash in native code",
}


class RoundProcesses:
    """Runs rounds, each as `python -m trainer once --json`, with this process's environment, folder and stderr; or other `work`."""

    def __init__(self, command: Sequence[str] = (), *, work: Work = ROUND) -> None:
        """`command`: another that does that work, and takes --project."""
        self._work = work
        self._command = command or [*program_command("trainer"), *work.arguments]
        self._process: subprocess.Popen[str] | None = None
        self._is_interrupted = False

    def __call__(self, project: LabelStudioProject, folder: ProjectFolder) -> Round:
        """How it ended.

        Raises:
            StudioUnreachable: Label Studio did not answer; it is worth trying again as it is.
            TrainingError: another process is at it, or `interrupt` ended this one.
        """
        work = self._work
        if is_running(folder, work):
            raise TrainingError(busy(folder, work))
        started = time.monotonic()
        # A session of its own: the terminal's Ctrl-C is for the daemon, which lets a round end.
        self._process = subprocess.Popen(
            [*self._command, "--project", str(folder.project_id)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        if self._is_interrupted:  # before this process was known to `interrupt`
            self._process.terminate()
        output, _ = self._process.communicate()
        status, self._process = self._process.returncode, None
        if self._is_interrupted and status < 0:
            work.unfinished(folder).put_off()
            folder.request(work.request)  # whatever started it, and whether or not there is something to go on with
            raise TrainingError(f"The {work.name} was stopped before it ended; the next start of the trainer takes it up.")
        ended = read_outcome(output)
        if ended is None:
            ended = Round("failed", self._died(status))
            logger.error("project %d: %s failed: %s", folder.project_id, work.name, ended.reason)
            write_ended(ended, folder, work, seconds=time.monotonic() - started)
        return ended

    def interrupt(self) -> None:
        """Ends a running one early; its last checkpoint stays."""
        self._is_interrupted = True
        if self._process is not None:
            self._process.terminate()

    def _died(self, status: int) -> str:
        whose = f"the {self._work.name}'s"
        if status >= 0:
            return f"{whose} process ended with status {status}; the log above says why"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
        return f"{whose} process was killed (signal {-status}, {name}{_HINTS.get(-status, '')})"
