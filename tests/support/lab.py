"""A registry, quick rounds on the tiny base, and the judged tasks that they train on."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import torch

from preference.errors import StudioError
from preference.labelling.prompts import transcript
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from preference.studio.tabs import Tabs
from preference.studio.task import Task
from tests.conftest import REPOSITORY
from tests.support.separable_pairs import separable_pairs
from trainer.rounds.outcome import Round
from trainer.rounds.round import run_round

CPU = torch.device("cpu")
HOLDOUT = 0.3  # of the prompts of most labs
Annotation = dict[str, Any]
LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")


class NotedTabs(Tabs):
    """The tabs of a project without Label Studio: what one would list, from fill to fill."""

    def __init__(self) -> None:
        self.filled: list[list[int]] = []
        self.error: StudioError | None = None

    def fill(self, title: str, task_ids: Sequence[int]) -> bool:
        if self.error is not None:
            raise self.error
        self.filled.append(list(task_ids))
        return True


class JudgedProject(LabelStudioProject):
    """A project as label-studio 1.23.2 lists it with `fields=all`, without Label Studio."""

    def __init__(self, tasks: list[dict[str, Any]], *, error: Exception | None = None, label_config: str = LABEL_CONFIG) -> None:
        self.id, self._tasks, self._error, self._label_config = 7, tasks, error, label_config
        self.tabs: NotedTabs = NotedTabs()
        self._created_at = datetime.now(UTC).isoformat()  # of another project than before, so nothing kept is trusted

    @property
    def url(self) -> str:
        return "http://studio.example"

    def read(self) -> dict[str, Any]:
        return {
            "created_at": self._created_at,
            "label_config": self._label_config,
            "total_annotations_number": sum(len(task["annotations"]) for task in self._tasks),
        }

    def users(self) -> dict[int, tuple[str, str]]:
        return {1: ("Ann Lee", "ann@example.org"), 2: ("", "ben@example.org")}

    def judged_since(self, moment: datetime) -> Iterator[Task]:
        return iter(())

    def annotated_tasks(self, *, page_size: int = 200) -> Iterator[Task]:
        for task in self._tasks:
            yield cast(Task, {"updated_at": "2026-01-01T00:00:00.000000Z", **task})
        if self._error is not None:
            raise self._error


def vote(side: str) -> Annotation:
    region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
    return {"id": 1, "completed_by": 1, "was_cancelled": False, "parent_prediction": None, "result": [region]}


def judged_tasks(num_tasks: int, *, flipped: Callable[[str], bool] = lambda prompt: False) -> list[dict[str, Any]]:
    """Tasks with one vote each for the separable answer, which stands on either side; `flipped` prompts got the other vote."""
    tasks = []
    for i, pair in enumerate(separable_pairs(num_tasks)):
        left, right = (pair.chosen, pair.rejected) if i % 2 else (pair.rejected, pair.chosen)
        side = "left" if bool(i % 2) != flipped(transcript(pair.prompt)) else "right"
        data = {"prompt": pair.prompt, "answer1": left, "answer2": right}
        tasks.append({"id": i + 1, "data": data, "annotations": [{**vote(side), "id": i + 1}], "predictions": []})
    return tasks


class Lab:
    """A project folder, settings for quick rounds on the tiny base, and what a round needs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = ProjectFolder(settings.model_dir, 7)
        self.extractors = Extractors(settings.model_dir, CPU)

    def round(
        self, tasks: list[dict[str, Any]], *, error: Exception | None = None, checkpoint_seconds: float = 180,
        label_config: str = LABEL_CONFIG,
    ) -> Round:  # fmt: skip
        project = JudgedProject(tasks, error=error, label_config=label_config)
        return run_round(project, self.folder, self.settings, extractors=self.extractors, checkpoint_seconds=checkpoint_seconds)

    def card(self, ended: Round) -> ReportCard:
        assert ended.version is not None
        return Versions(self.folder).card(ended.version)
