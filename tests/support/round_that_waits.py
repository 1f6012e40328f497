"""What the process of two tests in test_schedule.py runs: a trainer whose one round waits for a file called `go`.

Apart, so that it does not load what conftest.py does. `python -m tests.support.round_that_waits MODEL_DIR [VARIABLE=VALUE ...]`
"""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from preference.errors import PairloopError
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from preference.studio.task import Annotation, Task
from trainer.daemon.schedule import run_schedule
from trainer.rounds.outcome import Round


class CountedProject(LabelStudioProject):
    """A project of which only its annotations are known, one a task, or that does not answer."""

    def __init__(self, project_id: int, num_annotations: int = 0, error: PairloopError | None = None) -> None:
        self.id, self.error = project_id, error
        self._now, self._changed = datetime(2026, 1, 1, tzinfo=UTC), dict[int, datetime]()  # by the annotation's id
        self._last_id = 0
        self.num_annotations = num_annotations

    @property
    def num_annotations(self) -> int:
        return len(self._changed)

    @num_annotations.setter
    def num_annotations(self, number: int) -> None:
        """More are made, or the oldest are deleted."""
        for annotation_id in list(self._changed)[: max(0, len(self._changed) - number)]:
            del self._changed[annotation_id]
        while len(self._changed) < number:
            self._last_id += 1
            self._change(self._last_id)

    def edit(self, number: int) -> None:
        """So many of the oldest are edited."""
        for annotation_id in list(self._changed)[:number]:
            self._change(annotation_id)

    def read(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"total_annotations_number": self.num_annotations, "label_config": "<View/>"}

    @property
    def url(self) -> str:
        return "http://studio.example"

    def annotated_tasks(self, *, page_size: int = 500) -> Iterator[Task]:
        return iter(())

    def judged_since(self, moment: datetime) -> Iterator[Task]:
        for number, at in self._changed.items():
            if at > moment:
                annotation: Annotation = {"id": number, "was_cancelled": False, "updated_at": at.isoformat()}
                yield {"id": number, "updated_at": at, "annotations": [annotation]}

    def _change(self, annotation_id: int) -> None:
        self._now += timedelta(seconds=1)
        self._changed[annotation_id] = self._now


def main(model_dir: Path, *variables: str) -> None:
    def run_round(project: LabelStudioProject, folder: ProjectFolder) -> Round:
        (model_dir / "began").touch()
        while not (model_dir / "go").exists():
            time.sleep(0.05)
        (model_dir / "ended").touch()
        return Round("promoted", "better")

    def run_alignment(project: LabelStudioProject, folder: ProjectFolder) -> Round:
        (model_dir / "aligned").touch()
        return Round("promoted", "better")

    environ = dict(variable.split("=", 1) for variable in variables)
    settings = Settings.from_environ({"MODEL_DIR": str(model_dir), "LOOK_EVERY_SECONDS": "0.1", **environ})
    run_schedule(
        settings, run_round, run_alignment=run_alignment, open_project=lambda settings, project_id: CountedProject(project_id, 3),
        interrupt=(model_dir / "go").touch,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
