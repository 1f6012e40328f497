"""What an engine gets and gives back. To add an engine: one class that is a Generator, one line in engines.ENGINES."""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from preference.labelling.prompts import Prompt


@dataclass(frozen=True)
class WrittenAnswers:
    """The answers to one prompt."""

    answers: list[str]  # num_answers of them, one may be empty; none if `refused` says why
    num_cut: int = 0  # tokens cut from the prompt's head
    refused: str = ""  # why this prompt, alone, cannot be answered


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt that waits for its answers. Whoever takes it finishes it; its failure is set by the scheduler."""

    prompt: Prompt
    seed: int  # decides the answers; another batch or processor may change one in many, by rounding, and more in half precision
    num_answers: int = 2
    is_urgent: bool = False  # somebody waits for it before a screen
    written: "Future[WrittenAnswers]" = field(default_factory=Future, repr=False)

    def finish(self, answers: WrittenAnswers) -> None:
        """Hands the answers over; does nothing if the job was cancelled meanwhile."""
        with suppress(InvalidStateError):
            self.written.set_result(answers)


class Jobs(Protocol):
    """Where a Generator gets its work: a scheduler.Scheduler."""

    def take(self, count: int) -> list[Job]:
        """All urgent jobs that wait, and at most `count` of the others, in order. Never blocks."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether the process ends: what is not written yet may be abandoned."""
        ...

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        """Reports how many tokens were written since the last call, and how many answers are being written now."""
        ...


class Generator(Protocol):
    """Answers prompts. Used by one thread at a time."""

    name: str  # of the model, for provenance
    sampling: dict[str, Any]  # how it samples, for provenance
    capacity: int  # prompts that it writes together, at most

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs, taking more as it has room, and returns when none waits and all it took are written.

        A prompt that cannot be answered gets WrittenAnswers with `refused`; the others go on.

        Raises:
            ModelError: the model failed. Jobs that were taken and not written are the caller's to fail.
        """
        ...
