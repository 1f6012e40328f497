"""How a round ended, as its process writes it and as others read it."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from preference.errors import StudioUnreachable, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.status import outcome_in_words
from preference.projects.status_files import write_last_round
from trainer.rounds.lock import only_round

logger = logging.getLogger("pairloop.rounds")
Outcome = Literal["promoted", "rejected", "skipped", "failed"]


@dataclass(frozen=True)
class Round:
    """How one round of one project ended."""

    outcome: Outcome
    reason: str
    version: str | None = None  # the version that was published, if one was

    def __str__(self) -> str:
        return f"{outcome_in_words(self.outcome)}{f' {self.version}' if self.version else ''}: {self.reason}"


def run_here(folder: ProjectFolder, run: Callable[[], Round]) -> Round | StudioUnreachable | TrainingError:
    """How a round in this process ended, or why it cannot run now: Label Studio does not answer, or another process runs one."""
    try:
        with only_round(folder):
            started = time.monotonic()
            ended = run()
            write_ended(ended, folder, seconds=time.monotonic() - started)
            return ended
    except (StudioUnreachable, TrainingError) as error:
        return error


def write_outcome(ended: Round | StudioUnreachable | TrainingError) -> str:
    """One line of JSON, as `read_outcome` takes it. TrainingError: another process is in the middle of a round."""
    if isinstance(ended, Round):
        return json.dumps(asdict(ended))
    return json.dumps({"outcome": "unreachable" if isinstance(ended, StudioUnreachable) else "busy", "reason": str(ended)})


def read_outcome(text: str) -> Round | None:
    """What the last line of JSON in a process's output says, or None without one. Libraries may print after it.

    Raises:
        StudioUnreachable: Label Studio did not answer.
        TrainingError: another process is in the middle of a round.
    """
    try:
        line = next(line for line in reversed(text.splitlines()) if line.startswith("{"))
        fields = json.loads(line)
        outcome, reason = fields.pop("outcome"), fields.pop("reason")
    except (StopIteration, ValueError, TypeError, AttributeError, KeyError):
        return None
    if outcome == "unreachable":
        raise StudioUnreachable(reason)
    if outcome == "busy":
        raise TrainingError(reason)
    return Round(outcome, reason, fields.get("version"))


def write_ended(ended: Round, folder: ProjectFolder, *, seconds: float) -> None:
    """Writes how a round ended, for status, dashboard and doctor."""
    try:
        write_last_round(folder, ended.outcome, reason=ended.reason, version=ended.version, seconds=seconds)
    except OSError as error:  # the round itself ended as it did
        logger.warning("project %d: how the round ended cannot be written (%s)", folder.project_id, error.strerror)
