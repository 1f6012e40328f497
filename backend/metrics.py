"""What /metrics counts. Under gunicorn each worker counts into PROMETHEUS_MULTIPROC_DIR, and /metrics adds them up."""

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector


class _Workers(Collector):
    """What the workers counted, without the files that a worker just created: prometheus-client cannot read an empty one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        counted = [str(path) for path in sorted(self._folder.glob("*.db")) if path.stat().st_size]
        return MultiProcessCollector.merge(counted)  # type: ignore[no-any-return]


class Metrics:
    """The counters of one process; one instance a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("pairloop_requests", "Requests answered", ["route", "status"])
        self.seconds = Histogram(
            "pairloop_request_seconds", "Seconds to answer a request", ["route"], registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100),
        )  # fmt: skip
        self.tasks_answered = self._counter("pairloop_tasks_answered", "Tasks that the filler gave answers")
        self.predictions_stored = self._counter("pairloop_predictions_stored", "Predictions that the filler stored")
        self.tasks_failed = self._counter("pairloop_tasks_failed", "Tasks that could not be filled", ["reason"])
        self.prompts_cut = self._counter("pairloop_prompts_cut", "Prompts that were longer than the window")
        self.tokens_written = self._counter("pairloop_tokens_written", "Tokens that the generator wrote")
        self.generating_seconds = self._counter("pairloop_generating_seconds", "Seconds in which the generator wrote")
        self.tokens_per_second = self._gauge("pairloop_tokens_per_second", "Tokens that the generator writes a second, lately")
        self.batch_size = self._gauge("pairloop_batch_size", "Answers that are being written together")
        self.jobs_waiting = self._gauge("pairloop_jobs_waiting", "Prompts that wait for the generator")
        self.tasks_unanswered = self._gauge("pairloop_tasks_unanswered", "Tasks that lack an answer", ["project"])

    def _counter(self, name: str, help_text: str, labels: list[str] | None = None) -> Counter:
        return Counter(name, help_text, labels or [], registry=self._registry)

    def _gauge(self, name: str, help_text: str, labels: list[str] | None = None) -> Gauge:
        # One process among the workers fills, so the sum over those alive is its figure.
        return Gauge(name, help_text, labels or [], registry=self._registry, multiprocess_mode="livesum")

    def text(self) -> bytes:
        """All workers' figures in Prometheus' text format."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # prometheus-client's own variable; `serve` sets it
        if folder is None:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        everyone.register(_Workers(Path(folder)))
        return generate_latest(everyone)
