"""What one process fills with, put together once."""

import logging
from dataclasses import dataclass
from typing import Self

from backend.generators.engines import ENGINES
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champions
from preference.models.device import pick_device
from preference.projects.problems import ProjectProblems
from preference.settings import Settings

logger = logging.getLogger("pairloop.filling")


@dataclass(frozen=True)
class Workbench:
    """A process's settings, the reward models that it serves, the generator that it writes with, its figures, and what fails it."""

    settings: Settings
    champions: Champions
    scheduler: Scheduler
    metrics: Metrics
    problems: ProjectProblems

    @classmethod
    def from_settings(cls, settings: Settings, metrics: Metrics) -> Self:
        """Loads no model."""
        champions = Champions(settings.model_dir, device=pick_device(settings.device), metrics=metrics)
        scheduler = Scheduler(lambda: ENGINES[settings.generator.engine](settings), metrics)
        return cls(settings, champions, scheduler, metrics, ProjectProblems(settings.model_dir, "filler", logger))
