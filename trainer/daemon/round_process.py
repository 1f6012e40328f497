"""One round in a process of its own: its memory, on a GPU too, is freed, and a crash in it ends it and nothing else.

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
from trainer.rounds.unfinished import UnfinishedRound

logger = logging.getLogger("pairloop.daemon")
_HINTS: dict[int, str] = {
    signal.SIGKILL: ": out of memory?",
    signal.SIGSEGV: ": a crash in native code",
    signal.SIGABRT: ": a crash in native code",
}


class RoundProcesses:
    """Runs rounds, each as `python -m trainer once --json`, with this process's environment, folder and stderr."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        """`command`: another that runs a round, and takes --project."""
        self._command = command or [*program_command("trainer"), "once", "--json"]
        self._process: subprocess.Popen[str] | None = None
        self._is_interrupted = False

    def __call__(self, project: LabelStudioProject, folder: ProjectFolder) -> Round:
        """How the round ended.

        Raises:
            StudioUnreachable: Label Studio did not answer; the round is worth trying again as it is.
            TrainingError: another process runs a round of this project, or `interrupt` ended this one.
        """
        if is_running(folder):
            raise TrainingError(busy(folder))
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
            UnfinishedRound(folder).put_off()
            folder.request("train")  # whatever started it, and whether or not there is a snapshot to go on with
            raise TrainingError("The round was stopped before it ended; the next start of the trainer takes it up.")
        ended = read_outcome(output)
        if ended is None:
            ended = Round("failed", _died(status))
            logger.error("project %d: round failed: %s", folder.project_id, ended.reason)
            write_ended(ended, folder, seconds=time.monotonic() - started)
        return ended

    def interrupt(self) -> None:
        """Ends a running round early; its last checkpoint stays."""
        self._is_interrupted = True
        if self._process is not None:
            self._process.terminate()


def _died(status: int) -> str:
    if status >= 0:
        return f"the round's process ended with status {status}; the log above says why"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
    return f"the round's process was killed (signal {-status}, {name}{_HINTS.get(-status, '')})"
