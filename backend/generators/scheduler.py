"""The scheduler: one thread that owns the generator, and the jobs that wait for it.

Whoever needs answers submits jobs, from any thread. Jobs that wait together are written together, urgent ones first.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from backend.monitoring.metrics import Metrics
from preference.errors import ModelError
from preference.generation.jobs import Adapter, Generator, Job, WrittenAnswers
from preference.labelling.prompts import Prompt

logger = logging.getLogger("pairloop.generators")
_RATE_SECONDS = 2.0  # over which tokens a second are counted
_UNLOADED_CAPACITY = 16


class Scheduler:
    """The queue of jobs, from which the generator takes them; the generator is loaded at the first job."""

    def __init__(
        self, load: Callable[[], Generator], metrics: Metrics | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`metrics`: whose figures are those of this generator; None for none."""
        self._load, self._metrics = load, metrics
        self._loaded: Generator | None = None
        self._loading = threading.Lock()
        self._queue: deque[Job] = deque()
        self._urgent: deque[Job] = deque()
        self._taken: set[Job] = set()
        self._changed = threading.Condition()
        self.stopping = threading.Event()  # set when the process ends
        self.tokens_per_second = 0.0  # lately
        self._clock = clock
        self._since, self._num_since = clock(), 0

    # For those who need answers

    def submit(
        self, prompt: Prompt, *, seed: int, num_answers: int = 2, is_urgent: bool = False, adapter: Adapter | None = None
    ) -> "Future[WrittenAnswers]":
        """The future answers: a ModelError if the model cannot be loaded or fails, cancelled if the process ends."""
        job = Job(prompt, seed, num_answers, is_urgent, adapter)
        with self._changed:
            if self.is_stopped:
                job.written.cancel()
                return job.written
            (self._urgent if is_urgent else self._queue).append(job)
            self._show_waiting()
            self._changed.notify_all()
        return job.written

    def generator(self) -> Generator:
        """The generator, loaded if need be.

        Raises:
            ModelError: it cannot be loaded.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @property
    def is_ready(self) -> bool:
        """Whether the generator is loaded, or nobody waits for it."""
        return self._loaded is not None or not (self._urgent or self._queue)

    @property
    def capacity(self) -> int:
        """Prompts that are written together, at most; a guess until the generator is loaded."""
        return _UNLOADED_CAPACITY if self._loaded is None else self._loaded.capacity

    # For the generator

    def take(self, count: int) -> list[Job]:
        """All urgent jobs, and at most `count` of the others."""
        with self._changed:
            taken = list(self._urgent)
            self._urgent.clear()
            while self._queue and count > 0:
                taken.append(self._queue.popleft())
                count -= 1
            self._taken.update(taken)
            self._show_waiting()
        for job in taken:
            job.written.add_done_callback(lambda _, job=job: self._taken.discard(job))  # type: ignore[misc]
        return taken

    @property
    def is_stopped(self) -> bool:
        """Whether the process ends."""
        return self.stopping.is_set()

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        """Counts tokens and answers for the figures."""
        if self._metrics is not None:
            self._metrics.tokens_written.inc(num_tokens)
            self._metrics.batch_size.set(batch_size)
        self._num_since += num_tokens
        seconds = self._clock() - self._since
        if seconds >= _RATE_SECONDS:
            self.tokens_per_second = self._num_since / seconds
            self._show_rate()
            self._since, self._num_since = self._clock(), 0

    # The thread

    def run(self) -> None:
        """Writes jobs until `stop`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.is_stopped or self._queue or self._urgent)
                if self.is_stopped:
                    return
            started = self._since = self._clock()
            self._num_since = 0
            try:
                self.generator().run(self)
                self._fail("the generator did not write it")
            except ModelError as error:
                self._fail(str(error))
            except Exception:  # the outermost call: this thread must outlive whatever a model does to it
                logger.exception("the generator failed")
                self._fail("the generator failed; the log has the trace")
            self.tokens_per_second = 0.0
            self._show_rate()
            if self._metrics is not None:
                self._metrics.generating_seconds.inc(self._clock() - started)
                self._metrics.batch_size.set(0)

    def stop(self) -> None:
        """Ends `run` soon; what is not written is cancelled."""
        with self._changed:
            self.stopping.set()
            unwritten = [*self._urgent, *self._queue]
            self._changed.notify_all()
        for job in unwritten:
            job.written.cancel()

    def _show_waiting(self) -> None:
        if self._metrics is not None:
            self._metrics.jobs_waiting.set(len(self._urgent) + len(self._queue))

    def _show_rate(self) -> None:
        if self._metrics is not None:
            self._metrics.tokens_per_second.set(self.tokens_per_second)

    def _fail(self, message: str) -> None:
        """Fails the jobs that the generator took and did not write; if it cannot be loaded, also those that wait."""
        unwritten = list(self._taken)
        if self._loaded is None:
            unwritten += self.take(len(self._queue))
        for job in unwritten:
            if self.is_stopped:
                job.written.cancel()
            else:
                with suppress(InvalidStateError):  # cancelled meanwhile
                    job.written.set_exception(ModelError(message))
