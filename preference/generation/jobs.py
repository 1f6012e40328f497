"""What an engine gets and gives back. To add an engine: one class that is a Generator, one line in backend/generators/engines.py."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from preference.labelling.prompts import Prompt
from preference.studio.storable import storable

CUT = frozenset({"length", "content_filter"})  # of an OpenAI server's finish reasons, those that leave an answer without its end


@dataclass(frozen=True)
class Adapter:
    """A generator version: what it is called, where it lies, and what each of its answers is given to go on from."""

    version: str
    folder: Path
    answer_prefix: str = ""  # no part of the answer


@dataclass(frozen=True)
class Answer:
    """One answer, and how it came about."""

    text: str
    finish_reason: str = ""  # `stop`, `length` if a limit cut it off, or a server's own word; "" if the engine does not say
    thought: str = ""  # what the model thought before it
    version: str = ""  # the generator version that wrote it; "" is the base


@dataclass(frozen=True)
class WrittenAnswers:
    """The answers to one prompt."""

    answers: list[str]  # num_answers of them, one may be empty; none if `refused` says why
    num_cut: int = 0  # tokens cut from the prompt's head
    refused: str = ""  # why this prompt, alone, cannot be answered
    num_changed: int = 0  # characters that no database takes: removed, or replaced if they were halves of one
    # How each of the answers came about; () if the engine does not say. Two writings that say the same are equal.
    finish_reasons: Sequence[str] = field(default=(), compare=False)
    thoughts: Sequence[str] = field(default=(), compare=False)
    version: str = field(default="", compare=False)  # the generator version that wrote them; "" is the base

    @classmethod
    def of(cls, answers: Sequence[Answer], *, num_cut: int = 0, version: str = "") -> Self:
        """The same of answers that know how they came about."""
        return cls(
            [answer.text for answer in answers],
            num_cut,
            finish_reasons=[answer.finish_reason for answer in answers],
            thoughts=[answer.thought for answer in answers],
            version=version,
        )

    @property
    def each(self) -> list[Answer]:
        """The answers, each with how it came about."""
        unknown = [""] * len(self.answers)
        columns = self.answers, self.finish_reasons or unknown, self.thoughts or unknown
        return [Answer(*values, self.version) for values in zip(*columns, strict=True)]


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt that waits for its answers. Whoever takes it finishes it; its failure is set by the scheduler."""

    prompt: Prompt
    seed: int  # decides the answers; another batch or processor may change one in many, by rounding, and more in half precision
    num_answers: int = 2
    is_urgent: bool = False  # somebody waits for it before a screen
    adapter: Adapter | None = (
        None  # the generator version that is to write; None is the base. Engines without adapters have the base alone
    )
    written: "Future[WrittenAnswers]" = field(default_factory=Future, repr=False)

    def finish(self, answers: WrittenAnswers) -> None:
        """Hands the answers over, as every database takes them; does nothing if the job was cancelled meanwhile."""
        texts, num_changed = storable(answers.answers)
        with suppress(InvalidStateError):
            self.written.set_result(replace(answers, answers=texts, num_changed=num_changed) if num_changed else answers)


class Jobs(Protocol):
    """Where a Generator gets its work: the backend's Scheduler, or GivenJobs."""

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


class GivenJobs:
    """Jobs that are all there from the beginning, for whoever runs a generator in a thread of its own."""

    is_stopped = False

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._queue = deque(jobs)

    def take(self, count: int) -> list[Job]:
        """The next ones."""
        return [self._queue.popleft() for _ in range(min(max(count, 0), len(self._queue)))]

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        """Nothing: nobody counts them."""


def write_all(
    generator: Generator, prompts: Sequence[Prompt], *, seeds: Sequence[int], num_answers: int = 2, adapter: Adapter | None = None
) -> list[WrittenAnswers]:
    """The answers to each prompt, in order, written in this thread: for those who have all their prompts at hand.

    Raises:
        ModelError: the model failed.
    """
    jobs = [Job(prompt, seed, num_answers, adapter=adapter) for prompt, seed in zip(prompts, seeds, strict=True)]
    generator.run(GivenJobs(jobs))
    return [job.written.result(timeout=0) for job in jobs]
