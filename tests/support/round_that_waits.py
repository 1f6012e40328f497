"""What the process of two tests in test_schedule.py runs: a trainer whose one round waits for a file called `go`.

Apart, so that it does not load what conftest.py does. `python -m tests.support.round_that_waits MODEL_DIR`
"""

import sys
import time
from pathlib import Path
from typing import Any

from preference.errors import PairloopError
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.daemon.schedule import run_schedule
from trainer.rounds.outcome import Round


class CountedProject(LabelStudioProject):
    """A project of which only the number of annotations is known, or that does not answer."""

    def __init__(self, project_id: int, num_annotations: int = 0, error: PairloopError | None = None) -> None:
        self.id, self.num_annotations, self.error = project_id, num_annotations, error

    def read(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"total_annotations_number": self.num_annotations}


def main(model_dir: Path) -> None:
    def run_round(project: LabelStudioProject, folder: ProjectFolder) -> Round:
        (model_dir / "began").touch()
        while not (model_dir / "go").exists():
            time.sleep(0.05)
        (model_dir / "ended").touch()
        return Round("promoted", "better")

    settings = Settings.from_environ({"MODEL_DIR": str(model_dir), "LOOK_EVERY_SECONDS": "0.1"})
    run_schedule(
        settings, run_round, open_project=lambda settings, project_id: CountedProject(project_id),
        interrupt=(model_dir / "go").touch,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
