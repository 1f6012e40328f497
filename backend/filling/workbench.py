"""What one process fills with, put together once."""

import logging
from dataclasses import dataclass, field
from typing import Any, Self

from backend.generators.engines import ENGINES
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champions
from preference.models.device import pick_device
from preference.projects.problems import ProjectProblems
from preference.settings import Settings

logger = logging.getLogger("pairloop.filling")
_MOST_REFUSALS = 10_000


class Refusals(dict[tuple[int, int], dict[str, Any]]):
    """Records of refused prompts, by project and task, of tasks whose meta is no object and so holds none; the latest of them."""

    def remember(self, task: tuple[int, int], record: dict[str, Any]) -> None:
        """Keeps a task's record, and forgets the one kept longest if they are too many."""
        self.pop(task, None)
        self[task] = record
        if len(self) > _MOST_REFUSALS:
            self.pop(next(iter(self.copy())), None)  # other threads may change it


@dataclass(frozen=True)
class Workbench:
    """A process's settings, the reward models that it serves, the generator that it writes with, its figures, and what fails it."""

    settings: Settings
    champions: Champions
    scheduler: Scheduler
    metrics: Metrics
    problems: ProjectProblems
    refusals: Refusals = field(default_factory=Refusals)
    rival: Scheduler | None = None  # of DUEL_WITH's generator

    @classmethod
    def from_settings(cls, settings: Settings, metrics: Metrics) -> Self:
        """Loads no model."""
        device = pick_device(settings.device)
        champions = Champions(settings.model_dir, device=device, metrics=metrics, training=settings.training)
        scheduler = Scheduler(lambda: ENGINES[settings.generator.engine](settings), metrics)
        problems = ProjectProblems(settings.model_dir, "filler", logger)
        return cls(settings, champions, scheduler, metrics, problems, rival=_rival(settings))

    @property
    def schedulers(self) -> list[Scheduler]:
        """Each wants a thread that runs it."""
        return [self.scheduler] if self.rival is None else [self.scheduler, self.rival]

    def stop(self) -> None:
        """Ends what is being written, soon."""
        for scheduler in self.schedulers:
            scheduler.stop()


def _rival(settings: Settings) -> Scheduler | None:
    if not settings.filling.duel_with or not settings.filling.duel_percent:
        return None
    engine, _, model = settings.filling.duel_with.partition(":")
    own = settings.replace(generator_engine=engine, generator_model=model)
    return Scheduler(lambda: ENGINES[engine](own))
