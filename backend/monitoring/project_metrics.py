"""How each project stands, as figures for /metrics: whatever lies in MODEL_DIR."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from backend.monitoring.generator_metrics import generator_metrics
from preference.projects.status import ProjectStatus, read_overview
from preference.report_card.certificate import Standing, read_standing


def project_metrics(model_dir: Path, *, now: float | None = None) -> list[Metric]:
    """The figures at a moment, `now`, in seconds since the epoch. What is not known has no line."""
    now = time.time() if now is None else now
    overview = read_overview(model_dir, now=now)
    age = _gauge("pairloop_champion_age_seconds", "Since the champion was trained", ["project"])
    waiting = _gauge("pairloop_judgements_waiting", "Judgements since the last round", ["project"])
    ended = _gauge("pairloop_last_round_timestamp_seconds", "When the last round ended, and how", ["project", "outcome"])
    took = _gauge("pairloop_last_round_seconds", "How long the last round took", ["project"])
    problems = _gauge("pairloop_problems", "What hinders the work on a project, as /health names it", ["project"])
    live = _gauge("pairloop_certificate_live", "Whether the champion's certificate covers open tasks now", ["project"])
    covered = _gauge("pairloop_certified_coverage", "The share of the open tasks that it covered when it was made", ["project"])
    for status in overview.projects:
        project, last = str(status.project_id), status.last_round
        problems.add_metric([project], len(status.problems))
        if (trained_at := _trained_at(status.champion)) is not None:
            age.add_metric([project], max(0.0, now - trained_at))
        if status.num_new_judgements is not None:
            waiting.add_metric([project], status.num_new_judgements)
        if last.at is not None and last.seconds is not None:
            ended.add_metric([project, last.outcome], last.at)
            took.add_metric([project], last.seconds)
        if (certified := _standing(status, now=now)) is not None:
            live.add_metric([project], not certified.problem)
            if (coverage := certified.certificate.coverage) is not None:
                covered.add_metric([project], coverage)
    up = _gauge("pairloop_trainer_up", "Whether a trainer is running on this MODEL_DIR", [])
    up.add_metric([], overview.trainer.is_running)
    silent = _gauge("pairloop_trainer_heartbeat_age_seconds", "Since a trainer last marked itself as running", [])
    if overview.trainer.silent_seconds is not None:
        silent.add_metric([], max(0.0, overview.trainer.silent_seconds))
    return [age, waiting, ended, took, problems, live, covered, *generator_metrics(overview.projects), up, silent]


def _gauge(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=labels)


def _standing(status: ProjectStatus, *, now: float) -> Standing | None:
    try:
        return read_standing(status.folder.path, status.champion, now=now)
    except OSError:
        return None


def _trained_at(version: str | None) -> float | None:
    """When a version was published, in seconds since the epoch: its name says it, in UTC."""
    try:
        return datetime.strptime((version or "").partition("-")[2], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
