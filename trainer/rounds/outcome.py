"""How a round, or an alignment, ended, as its process writes it and as others read it."""

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
from trainer.rounds.lock import only_one
from trainer.rounds.work import ROUND, Work

logger = logging.getLogger("pairloop.rounds")
Outcome = Literal["promoted", "rejected", "skipped", "failed"]


@dataclass(frozen=True)
class Round:
    """How one round, or one alignment, of one project ended."""

    outcome: Outcome
    reason: str
    version: str | None = None  # the version that was published, if one was

    def __str__(self) -> str:
        return f"{outcome_in_words(self.outcome)}{f' {self.version}' if self.version else ''}: {self.reason}"


def run_here(
    folder: ProjectFolder, run: Callable[[], Round], *, work: Work = ROUND
) -> Round | StudioUnreachable | TrainingError:  # fmt: skip
    """How it ended in this process, or why it cannot run now: Label Studio does not answer, or another process runs one."""
    try:
        with only_one(folder, work):
            started = time.monotonic()
            ended = run()
            write_ended(ended, folder, work, seconds=time.monotonic() - started)
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


def write_ended(ended: Round, folder: ProjectFolder, work: Work = ROUND, *, seconds: float) -> None:
    """Writes how it ended, for status, dashboard and doctor."""
    try:
        write_last_round(folder, ended.outcome, reason=ended.reason, version=ended.version, seconds=seconds, kind=work.last)
    except OSError as error:  # it ended as it did all the same
        logger.warning("project %d: how the %s ended cannot be written (%s)", folder.project_id, work.name, error.strerror)
