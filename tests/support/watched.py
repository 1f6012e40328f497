"""A scheduler of generation jobs that keeps in order what is done to it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.generation.jobs import Generator, WrittenAnswers

PROMPTS = ["Why is the sky blue?", "Hi", "def add(a, b):\n    return a + b\n" * 8, "شرح لي القمر بالعربية", "🌙🦊 zażółć?"]
SEEDS = [11, 2**48 - 1, 13, 0, 15]


class Watched(Scheduler):
    """Jobs, with what is done to them in order; `meanwhile` is called at each report."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(lambda: generator, Metrics())
        self.finished: list[str] = []
        self.reports: list[tuple[int, int]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def ask(self, prompts: Sequence[str], **options: Any) -> "list[Future[WrittenAnswers]]":
        asked = []
        for seed, prompt in enumerate(prompts):
            written = self.submit(prompt, seed=seed, **options)
            written.add_done_callback(lambda _, prompt=prompt: self.finished.append(prompt))  # type: ignore[misc]
            asked.append(written)
        return asked

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        super().report(num_tokens=num_tokens, batch_size=batch_size)
        self.reports.append((num_tokens, batch_size))
        self.meanwhile()

    @property
    def num_tokens(self) -> int:
        return sum(num_tokens for num_tokens, _ in self.reports)

    @property
    def sizes(self) -> list[int]:
        """Of the batch, after each step."""
        return [batch_size for _, batch_size in self.reports]
