"""How each project stands, read from MODEL_DIR when /health or /metrics is asked: whatever lies there, they answer.

Only small files are read, and no version's card: that takes a millisecond a project or so, however many versions there are.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from preference.projects.folder import known_projects
from preference.projects.trainer_heartbeat import is_alive, seconds_since_beat
from preference.projects.training_status import read_round, read_waiting
from preference.projects.versions import Versions


@dataclass(frozen=True)
class Standing:
    """One project as the files tell of it."""

    project_id: int
    champion: str | None = None  # the version that the pointer names
    filling: dict[str, Any] = field(default_factory=dict)
    num_waiting: int | None = None  # judgements since the last round
    last_round: dict[str, Any] = field(default_factory=dict)


def standings(model_dir: Path) -> tuple[list[Standing], list[str]]:
    """Every known project, and a sentence for each thing that cannot be read."""
    try:
        folders = list(known_projects(model_dir))
    except OSError as error:
        return [], [f"MODEL_DIR={model_dir} cannot be read ({error.strerror}); mount it again, or mend its rights."]
    found, problems = [], []
    for folder in folders:
        try:
            found.append(
                Standing(
                    folder.project_id,
                    Versions(folder).champion(),
                    folder.read_progress(),
                    read_waiting(folder),
                    read_round(folder),
                )
            )
        except (OSError, ValueError, RecursionError) as error:
            found.append(Standing(folder.project_id))
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            problems.append(f"{folder.path} cannot be read ({reason}); mend or remove what is damaged in it.")
    return found, problems


def standing_metrics(model_dir: Path, *, now: float | None = None) -> list[Metric]:
    """The same as figures; `now` is in seconds since the epoch. What is not known has no line."""
    now = time.time() if now is None else now
    found, _ = standings(model_dir)
    age = _gauge("pairloop_champion_age_seconds", "Since the champion was trained", ["project"])
    waiting = _gauge("pairloop_judgements_waiting", "Judgements since the last round", ["project"])
    ended = _gauge("pairloop_last_round_timestamp_seconds", "When the last round ended, and how", ["project", "outcome"])
    took = _gauge("pairloop_last_round_seconds", "How long the last round took", ["project"])
    for standing in found:
        project = str(standing.project_id)
        if (trained_at := _trained_at(standing.champion)) is not None:
            age.add_metric([project], max(0.0, now - trained_at))
        if standing.num_waiting is not None:
            waiting.add_metric([project], standing.num_waiting)
        last = standing.last_round
        if isinstance(last.get("at"), int | float) and isinstance(last.get("seconds"), int | float):
            ended.add_metric([project, str(last.get("outcome"))], last["at"])
            took.add_metric([project], last["seconds"])
    up = _gauge("pairloop_trainer_up", "Whether a trainer is running on this MODEL_DIR", [])
    up.add_metric([], is_alive(model_dir, now=now))
    beat = _gauge("pairloop_trainer_heartbeat_age_seconds", "Since a trainer last said that it is running", [])
    if (silent := seconds_since_beat(model_dir, now=now)) is not None:
        beat.add_metric([], max(0.0, silent))
    return [age, waiting, ended, took, up, beat]


def _gauge(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=labels)


def _trained_at(version: str | None) -> float | None:
    """When a version was published, in seconds since the epoch: its name says it, in UTC."""
    try:
        return datetime.strptime((version or "").partition("-")[2], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
