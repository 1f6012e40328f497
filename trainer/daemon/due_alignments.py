"""Which project's generator learns now: the schedule asks for it, and the looks begin what was asked for, after their rounds.

Covered: an alignment whose process, or whose trainer, was killed: it stays asked for, and is taken up, MAX_ATTEMPTS times at most.
"""

import logging
from collections.abc import Callable

from preference.errors import PairloopError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.generators import Generators
from preference.projects.problems import ProjectProblems
from preference.settings import Settings
from trainer.aligning.alignment import ALIGNMENT
from trainer.daemon.due_rounds import OpenProject, RunRound, open_project
from trainer.judgements.new_judgements import NewJudgements
from trainer.rounds.lock import is_running
from trainer.rounds.unfinished import MAX_ATTEMPTS

logger = logging.getLogger("pairloop.daemon")


class DueAlignments:
    """Decides which projects' generators learn now."""

    def __init__(
        self, settings: Settings, run: RunRound, problems: ProjectProblems, *, open_project: OpenProject = open_project,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """`problems`: those that the rounds' looks note, too."""
        self._settings, self._run, self._problems, self._open_project = settings, run, problems, open_project
        self._is_stopping = is_stopping
        # project id -> the name of its latest generator version, and the judgements that are new since that
        self._new: dict[int, tuple[str | None, NewJudgements]] = {}

    def scheduled(self) -> None:
        """Asks for one for each project with ALIGN_MIN_NEW_PAIRS judgements that its latest generator version did not read."""
        self._each(self._ask)

    def look(self) -> None:
        """Begins what was asked for, one after the other."""
        self._each(self._take)

    def _each(self, do: Callable[[ProjectFolder], None]) -> None:
        for folder in known_projects(self._settings.model_dir):
            if self._is_stopping():
                return
            try:
                do(folder)
                self._problems.note(folder.project_id, "align")
            except (PairloopError, OSError) as error:
                self._problems.note(folder.project_id, "align", str(error))
            except Exception:  # the outermost call, as in due_rounds.py
                self._problems.note(folder.project_id, "align", "the trainer failed to let its generator learn", has_trace=True)

    def _ask(self, folder: ProjectFolder) -> None:
        project, needed = (
            self._open_project(self._settings.studio, folder.project_id),
            self._settings.training.align_min_new_pairs,
        )
        num_annotations = int(project.read().get("total_annotations_number") or 0)
        generators = Generators(folder)
        latest, known = next(reversed(generators.all()), None), self._new.get(folder.project_id)
        if known is None or known[0] != latest:
            known = (latest, NewJudgements.since(next(generators.cards(), None)))
        num_new = known[1].count(project, num_annotations)
        self._new[folder.project_id] = known
        if num_new < needed:
            return
        logger.info("project %d: an alignment is due (%d new judgements)", folder.project_id, num_new)
        folder.request("align")
        self._new[folder.project_id] = (latest, known[1].later(num_annotations))  # if it is refused, it would be so again

    def _take(self, folder: ProjectFolder) -> None:
        if not folder.is_requested("align") or is_running(folder, ALIGNMENT):
            return
        project, unfinished = self._open_project(self._settings.studio, folder.project_id), ALIGNMENT.unfinished(folder)
        project.read()  # if Label Studio does not answer, no process is to begin that only finds that out
        if unfinished.exists and unfinished.num_attempts >= MAX_ATTEMPTS:  # each took this process down with it
            unfinished.give_up()
            folder.take_request("align")
            return
        cause = "the one before was killed" if unfinished.exists else "it was asked for"
        logger.info("project %d: alignment begins (%s)", folder.project_id, cause)
        self._run(project, folder)  # what it raises leaves it asked for
        if unfinished.exists and unfinished.num_attempts < MAX_ATTEMPTS:  # it was killed
            return
        if unfinished.exists:
            unfinished.give_up()
        folder.take_request("align")
