"""A generator whose work a test decides, and a scheduler that runs it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.generation.jobs import Generator, Job, Jobs, WrittenAnswers
from preference.labelling.prompts import transcript

SECONDS = 60  # for whatever is waited for


class Writer:
    """A generator that does with the jobs what `work` does, and is at it while `is_open`."""

    def __init__(self, work: Callable[[Job], None] | None = None, *, capacity: int = 2) -> None:
        self.name, self.capacity = "writer", capacity
        self.sampling: dict[str, Any] = {}
        self.prompts: list[str] = []
        self.num_runs = 0
        self.is_open, self.is_at_it = threading.Event(), threading.Event()
        self.is_open.set()
        self._work = work or (lambda job: job.finish(WrittenAnswers([transcript(job.prompt).upper()] * job.num_answers)))

    def run(self, jobs: Jobs) -> None:
        self.num_runs += 1
        while not jobs.is_stopped and (taken := jobs.take(self.capacity)):
            self.is_at_it.set()
            assert self.is_open.wait(SECONDS)
            for job in [] if jobs.is_stopped else taken:
                self.prompts.append(transcript(job.prompt))
                jobs.report(num_tokens=10, batch_size=len(taken))
                self._work(job)


@contextmanager
def running(load: Callable[[], Generator], metrics: Metrics | None = None, **options: Callable[[], float]) -> Iterator[Scheduler]:
    """A scheduler whose thread runs; leaving the block stops it, and waits for its end."""
    scheduler = Scheduler(load, metrics or Metrics(), **options)
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()
