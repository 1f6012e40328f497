"""What /metrics answers: counts of this process or, under gunicorn, of all workers; and how each project stands.

A name that ends in _total only grows, also over a worker's end; a gauge of a worker that ended is dropped.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from backend.monitoring.project_metrics import project_metrics
from backend.monitoring.worker_counts import WorkerCounts

# prometheus-client takes no labels away in its multiprocess mode, so what is over is set to 0, and zeros are dropped from the answer.
_DROPPED_AT_ZERO = {"pairloop_serving_info", "pairloop_tasks_unfillable"}


class Metrics:
    """The counters of one process; one instance a process."""

    def __init__(self, model_dir: Path | None = None) -> None:
        """`model_dir`: whose projects have figures, too; None for none."""
        self._model_dir = model_dir
        self._registry = CollectorRegistry()
        self.requests = self._counter("pairloop_requests", "Requests answered", ["route", "status"])
        self.seconds = Histogram(
            "pairloop_request_seconds", "Seconds to answer a request", ["route"], registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60, 100),
        )  # fmt: skip
        self.tasks_answered = self._counter("pairloop_tasks_answered", "Tasks that the filler gave answers")
        self.answers_cut = self._counter(
            "pairloop_answers_cut", "Answers that the filler stored and that a limit cut off in the middle"
        )
        self.predictions_stored = self._counter("pairloop_predictions_stored", "Predictions that the filler stored")
        self.tasks_put_off = self._counter(
            "pairloop_tasks_put_off", "Answered tasks of a /predict for which there was no seat, or no time"
        )
        self.prompts_cut = self._counter("pairloop_prompts_cut", "Prompts that were longer than the window")
        self.tokens_written = self._counter("pairloop_tokens_written", "Tokens that the generator wrote")
        self.generating_seconds = self._counter("pairloop_generating_seconds", "Seconds in which the generator wrote")
        self.tokens_per_second = self._gauge("pairloop_tokens_per_second", "Tokens that the generator writes a second, lately")
        self.batch_size = self._gauge("pairloop_batch_size", "Answers that are being written together")
        self.jobs_waiting = self._gauge("pairloop_jobs_waiting", "Prompts that wait for the generator")
        self.tasks_unanswered = self._gauge("pairloop_tasks_unanswered", "Tasks that lack an answer", ["project"])
        self._unfillable = self._gauge(
            "pairloop_tasks_unfillable", "Tasks that the last whole pass could not answer", ["project", "reason"]
        )
        self._reloads = self._counter(
            "pairloop_reloads", "Promoted versions that a worker loaded: served, or refused", ["project", "outcome"]
        )
        self._serving = Gauge(
            "pairloop_serving_info", "The version that each worker serves", ["project", "version"],
            registry=self._registry, multiprocess_mode="liveall",
        )  # fmt: skip
        self._versions: dict[int, str] = {}  # project id -> the version that its figure names
        self._reasons: dict[int, set[str]] = {}  # project id -> why its tasks could not be answered

    def served(self, project_id: int, version: str) -> None:
        """Counts that this process loaded a version, and shows that one as served."""
        self._reloads.labels(str(project_id), "served").inc()
        self.ended(project_id)
        self._serving.labels(str(project_id), version).set(1)
        self._versions[project_id] = version

    def ended(self, project_id: int) -> None:
        """Shows that this process serves no version of a project any more, if it did."""
        version = self._versions.pop(project_id, None)
        if version is not None:
            self._serving.labels(str(project_id), version).set(0)

    def refused(self, project_id: int) -> None:
        """Counts that this process refused the version that the pointer names."""
        self._reloads.labels(str(project_id), "refused").inc()

    def unfillable(self, project_id: int, tasks: Mapping[str, int]) -> None:
        """Shows how many tasks a whole pass did not answer, by reason."""
        for reason in self._reasons.get(project_id, set()) - tasks.keys():
            self._unfillable.labels(str(project_id), reason).set(0)
        for reason, count in tasks.items():
            self._unfillable.labels(str(project_id), reason).set(count)
        self._reasons[project_id] = set(tasks)

    @property
    def num_queued_prompts(self) -> int:
        """Prompts that wait for the generator, in all workers."""
        folder = _folder()
        counted = self._registry.collect() if folder is None else WorkerCounts(folder).gauges()
        waiting = (metric for metric in counted if metric.name == "pairloop_jobs_waiting")
        return int(sum(sample.value for metric in waiting for sample in metric.samples))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        folder = _folder()
        counted = self._registry.collect() if folder is None else WorkerCounts(folder).read()
        metrics = [_without_zeros(metric) for metric in counted]
        if self._model_dir is not None:
            metrics += project_metrics(self._model_dir)
        answer = CollectorRegistry()
        answer.register(_Collected(metric for metric in metrics if metric.samples))
        return generate_latest(answer)

    def _counter(self, name: str, help_text: str, labels: list[str] | None = None) -> Counter:
        return Counter(name, help_text, labels or [], registry=self._registry)

    def _gauge(self, name: str, help_text: str, labels: list[str] | None = None) -> Gauge:
        # One process among the workers fills, so the sum over those alive is its figure.
        return Gauge(name, help_text, labels or [], registry=self._registry, multiprocess_mode="livesum")


class _Collected(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _folder() -> Path | None:
    """The folder in which this process and other workers count, if there are such."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # prometheus-client's own variable; `serve` sets it
    return None if folder is None else Path(folder)


def _without_zeros(metric: Metric) -> Metric:
    if metric.name in _DROPPED_AT_ZERO:
        metric.samples = [sample for sample in metric.samples if sample.value]
    return metric
