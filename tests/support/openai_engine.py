"""The openai engine as a scheduler runs it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backend.generators.openai_api import OpenAIGenerator
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.generation.jobs import Generator, WrittenAnswers
from preference.labelling.prompts import Prompt

MakeGenerator = Callable[..., OpenAIGenerator]
SECONDS = 60  # for whatever is waited for


@contextmanager
def scheduling(generator: Generator, metrics: Metrics | None = None) -> Iterator[Scheduler]:
    """A scheduler whose thread runs `generator`."""
    scheduler = Scheduler(lambda: generator, metrics or Metrics())
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def write(generator: Generator, *prompts: Prompt, seed: int = 1, num_answers: int = 2) -> list[WrittenAnswers]:
    with scheduling(generator) as scheduler:
        waiting = [scheduler.submit(prompt, seed=seed, num_answers=num_answers) for prompt in prompts]
        return [future.result(SECONDS) for future in waiting]
