"""One round in a process of its own: its memory, on a GPU too, comes back, and a crash in it ends it and nothing else.

Never imports torch: the daemon lives for months, and holds nothing but this.
"""

import json
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from preference.card import ModelCard
from preference.commands import program_command
from preference.errors import RegistryError, StudioUnreachable, TrainingError
from preference.registry import Registry
from preference.standing import tell_round
from preference.studio import LabelStudioProject
from trainer.unfinished import UnfinishedRound, busy, is_running, only_round

logger = logging.getLogger(__name__)
Outcome = Literal["promoted", "rejected", "skipped", "failed"]
_HINTS: dict[int, str] = {
    signal.SIGKILL: ": out of memory?",
    signal.SIGSEGV: ": a crash in native code",
    signal.SIGABRT: ": a crash in native code",
}


@dataclass(frozen=True)
class Round:
    """How one round of one project ended."""

    outcome: Outcome
    reason: str
    version: str | None = None  # the version that was published, if one was

    def __str__(self) -> str:
        return f"{self.outcome}{f' {self.version}' if self.version else ''}: {self.reason}"


class RoundProcesses:
    """Runs rounds, each as `python -m trainer once --json`, with this process's environment, folder and stderr."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        """`command`: another that runs a round, and takes --project."""
        self._command = command or [*program_command("trainer"), "once", "--json"]
        self._process: subprocess.Popen[str] | None = None
        self._is_interrupted = False

    def __call__(self, project: LabelStudioProject, registry: Registry) -> Round:
        """How the round ended.

        Raises:
            StudioUnreachable: Label Studio did not answer; the round is worth trying again as it is.
            TrainingError: another process runs a round of this project, or `interrupt` ended this one.
        """
        if is_running(registry):
            raise TrainingError(busy(registry))
        started = time.monotonic()
        # A session of its own: the terminal's Ctrl-C is for the daemon, which lets a round end.
        self._process = subprocess.Popen(
            [*self._command, "--project", str(registry.project_id)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        said, _ = self._process.communicate()
        status, self._process = self._process.returncode, None
        if self._is_interrupted and status < 0:
            UnfinishedRound(registry).put_off()
            registry.request("train")  # whatever it began from, and whether it left something to go on with
            raise TrainingError("The round was stopped before it ended; the next start of the trainer takes it up.")
        ended = read_outcome(said)
        if ended is None:
            ended = Round("failed", _died(status))
            logger.error("project %d: round failed: %s", registry.project_id, ended.reason)
            _tell(ended, registry, seconds=time.monotonic() - started)
        return ended

    def interrupt(self) -> None:
        """Ends a running round early; its last checkpoint stays."""
        self._is_interrupted = True
        if self._process is not None:
            self._process.terminate()


def run_here(registry: Registry, run: Callable[[], Round]) -> Round | StudioUnreachable | TrainingError:
    """How a round in this process ended, or what keeps it from running now: Label Studio is away, another process is at it."""
    try:
        with only_round(registry):
            started = time.monotonic()
            ended = run()
            _tell(ended, registry, seconds=time.monotonic() - started)
            return ended
    except (StudioUnreachable, TrainingError) as error:
        return error


def write_outcome(ended: Round | StudioUnreachable | TrainingError) -> str:
    """One line of JSON, as `read_outcome` takes it. TrainingError: another process is in the middle of a round."""
    if isinstance(ended, Round):
        return json.dumps(asdict(ended))
    return json.dumps({"outcome": "unreachable" if isinstance(ended, StudioUnreachable) else "busy", "reason": str(ended)})


def read_outcome(text: str) -> Round | None:
    """What the last line of JSON in a process's output says; None where it says nothing. Libraries may print behind it.

    Raises:
        StudioUnreachable: Label Studio did not answer.
        TrainingError: another process is in the middle of a round.
    """
    try:
        line = next(line for line in reversed(text.splitlines()) if line.startswith("{"))
        said = json.loads(line)
        outcome, reason = said.pop("outcome"), said.pop("reason")
    except (StopIteration, ValueError, TypeError, AttributeError, KeyError):
        return None
    if outcome == "unreachable":
        raise StudioUnreachable(reason)
    if outcome == "busy":
        raise TrainingError(reason)
    return Round(outcome, reason, said.get("version"))


def new_judgements(registry: Registry, num_annotations: int) -> int:
    """How many annotations came since the latest version, promoted or not, was trained.

    A damaged card is passed over: it must not keep the project from the round that would replace its version.
    """
    latest = next(cards(registry), None)
    return num_annotations - (latest.num_annotations if latest else 0)


def cards(registry: Registry) -> Iterator[ModelCard]:
    """The cards of all versions, latest first; a damaged one is passed over."""
    for version in reversed(registry.versions()):
        try:
            yield registry.card(version)
        except RegistryError as error:
            logger.warning("project %d: %s", registry.project_id, error)


def _tell(ended: Round, registry: Registry, *, seconds: float) -> None:
    try:
        tell_round(registry, ended.outcome, reason=ended.reason, version=ended.version, seconds=seconds)
    except OSError as error:  # the round itself ended as it did
        logger.warning("project %d: how the round ended cannot be told (%s)", registry.project_id, error.strerror)


def _died(status: int) -> str:
    if status >= 0:
        return f"the round's process ended with status {status}; the log above says why"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
    return f"the round's process was killed (signal {-status}, {name}{_HINTS.get(-status, '')})"
