"""Two projects whose annotations are counted, and rounds that only end: for the tests of which project gets a round."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

from filelock import FileLock

from preference.projects.folder import ProjectFolder
from preference.projects.problems import read_problems
from preference.projects.versions import Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.cards import EMPTY_CARD
from tests.support.round_that_waits import CountedProject
from trainer.daemon.due_alignments import DueAlignments
from trainer.daemon.due_rounds import DueRounds
from trainer.judgements.new_judgements import reach_of
from trainer.rounds.outcome import Round


class Lab:
    """A watch over projects 1 and 2, its clock, and what it did."""

    def __init__(self, settings: Settings) -> None:
        self.folders = {i: ProjectFolder(settings.model_dir, i) for i in (1, 2)}
        self.projects = {i: CountedProject(i) for i in self.folders}
        self.rounds: list[int] = []
        self.ends: Callable[[ProjectFolder], Round] = lambda folder: Round("promoted", "better")
        self.missing = ""  # for a first round
        self.now = 1_790_000_000.0
        self._settings = settings
        self.watch = self.started()
        self.folders[1].create()

    def started(self) -> DueRounds:
        """A watch that knows nothing yet, as that of a trainer that starts."""
        return DueRounds(
            self._settings,
            self._run_round,
            open_project=lambda settings, project_id: self.projects[project_id],
            clock=lambda: self.now,
            read_evidence=lambda project, folder: self.missing,
        )

    def alignments(self) -> DueAlignments:
        """The same for alignments."""
        return DueAlignments(
            self._settings,
            self._run_round,
            self.watch.problems,
            open_project=lambda settings, project_id: self.projects[project_id],
        )

    def noted(self) -> dict[int, list[str]]:
        """The problems that every process reads while the trainer works."""
        with FileLock(self._settings.model_dir / "trainer.lock"):
            return read_problems(self._settings.model_dir)

    def _run_round(self, project: LabelStudioProject, folder: ProjectFolder) -> Round:
        assert project is self.projects[folder.project_id]
        self.rounds.append(folder.project_id)
        return self.ends(folder)

    def publish(self, folder: ProjectFolder) -> str:
        """A version that was trained on the project's judgements of now."""
        draft, project = folder.path / "trained", self.projects[folder.project_id]
        draft.mkdir(exist_ok=True)
        reach = reach_of(project.judged_since(datetime.min.replace(tzinfo=UTC)))
        return Versions(folder).publish(
            draft, dataclasses.replace(EMPTY_CARD, num_annotations=project.num_annotations, **vars(reach))
        )
