"""What an engine is given and what it gives back. To add an engine: one class that is a Generator, one line in engines.ENGINES."""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class WrittenAnswers:
    """The answers to one prompt."""

    answers: list[str]  # num_answers of them, one may be empty; none where `refused` says why
    num_cut: int = 0  # tokens cut from the prompt's head
    refused: str = ""  # why this prompt, alone, cannot be answered


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt that waits for its answers. Whoever takes it finishes it; its failure is set by the scheduler."""

    prompt: str
    seed: int  # the same prompt and seed give the same answers, whatever else is written beside
    num_answers: int = 2
    is_urgent: bool = False  # somebody waits for it before a screen
    written: "Future[WrittenAnswers]" = field(default_factory=Future, repr=False)

    def finish(self, writing: WrittenAnswers) -> None:
        """Hands the answers over; nothing happens where the job was given up meanwhile."""
        with suppress(InvalidStateError):
            self.written.set_result(writing)


class Jobs(Protocol):
    """Where a Generator finds its work; see scheduling.Scheduler."""

    def take(self, count: int) -> list[Job]:
        """All urgent jobs that wait, and at most `count` of the others, in order. Never blocks."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether the process ends: what is not written yet may be left."""
        ...

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        """Tells how many tokens were written since the last call, and how many answers are being written now."""
        ...


class Generator(Protocol):
    """Answers prompts. Used by one thread at a time."""

    name: str  # of the model, for provenance
    sampling: dict[str, Any]  # how it samples, for provenance
    capacity: int  # prompts that it writes together, at most

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs, taking more as it has room, and returns when none waits and all it took are written.

        A prompt that cannot be answered gets a Writing with `refused`; the others go on.

        Raises:
            ModelError: the model failed. Jobs that were taken and not written are the caller's to fail.
        """
        ...
