"""A Label Studio with judged tasks, and a trainer that reads them: for the tests of what a round downloads and keeps."""

import logging
import random
from pathlib import Path

import pytest

from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.studio_double import StudioDouble
from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.reader import read_judgements

MINUTE, DAY = 60.0, 24 * 3600.0
LEFT = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
RIGHT = [{**LEFT[0], "value": {"selected": "right"}}]


class House:
    """A Label Studio with judged tasks, a clock that it shares with the trainer, and the trainer's folder."""

    def __init__(self, studio: StudioDouble, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
        self.studio, self.settings, self.now = studio, settings, 1_790_000_000.0
        self.folder = settings.model_dir / "projects" / "1"
        studio.clock = lambda: self.now
        self.project = LabelStudioProject(settings.studio, studio.add_project(), patience_seconds=0)
        self._caplog = caplog
        caplog.set_level(logging.INFO, logger="pairloop.judgements")

    def judged(self, count: int) -> list[int]:
        """Ids of new tasks with one judgement each, long ago."""
        ids = self.studio.add_tasks(self.project.id, *({"prompt": f"p{n}", "answer1": "a", "answer2": "b"} for n in range(count)))
        for task_id in ids:
            self.studio.annotate(task_id, LEFT)
        self.now += 60 * MINUTE
        return ids

    def something_happens(self, chance: random.Random, ids: list[int]) -> None:
        """What people do, drawn by `chance`, to one of these tasks or to any judgement; `ids` follows what is made and deleted."""
        studio = self.studio
        task_id = chance.choice(ids)
        every: list[int] = [annotation["id"] for task in studio.tasks.values() for annotation in task["annotations"]]
        made = chance.choice(every) if every else None
        match chance.choice(["judge", "judge", "judge", "skip", "edit", "truth", "delete", "cancel", "task", "data", "new"]):
            case "judge" | "skip" as kind:
                studio.annotate(task_id, LEFT, is_skip=kind == "skip")
            case "edit" if made:
                studio.edit(made, result=chance.choice([LEFT, RIGHT, []]))
            case "truth" if made:
                studio.edit(made, ground_truth=chance.random() < 0.5)
            case "cancel" if made:
                studio.edit(made, was_cancelled=chance.random() < 0.5)
            case "delete" if made:
                studio.delete_annotation(made)
            case "task" if len(ids) > 4:
                ids.remove(task_id)
                del studio.tasks[task_id]
            case "data":
                self.project.store_answers(task_id, data={"prompt": str(chance.random())}, meta={})
            case "new":
                ids.extend(self.judged(1))

    def read(self, folder: Path | None = None) -> list[JudgedTask]:
        return read_judgements(self.project, folder or self.folder, state=self.project.read(), now=self.now)

    def truth(self) -> list[JudgedTask]:
        """What a round from nothing reads."""
        num_records = len(self._caplog.records)
        tasks = self.read(self.settings.model_dir / f"fresh-{random.random()}")
        del self._caplog.records[num_records:]
        return tasks

    @property
    def log(self) -> str:
        """The one line of the last read."""
        return next(r.getMessage() for r in reversed(self._caplog.records) if r.name == "pairloop.judgements")

    def annotation(self, task_id: int) -> int:
        """The id of a task's first annotation."""
        return int(self.studio.tasks[task_id]["annotations"][0]["id"])

    @property
    def file(self) -> Path:
        return self.folder / "judgements.jsonl"


def ids_of(tasks: list[JudgedTask]) -> list[int]:
    return [task["id"] for task in tasks]
