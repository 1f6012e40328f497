"""Which project gets a round now: after a training request, after a round that was killed, on enough new judgements."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from preference.errors import PairloopError, RegistryError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.training_status import read_project, tell_waiting
from preference.projects.versions import Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.rounds.lock import is_running
from trainer.rounds.outcome import Round, new_judgements
from trainer.rounds.unfinished import MAX_ATTEMPTS, UnfinishedRound

logger = logging.getLogger("pairloop.daemon")
# What is told of a project, and Label Studio's name for it.
_TOLD = {
    "title": "title",
    "tasks": "task_number",
    "tasks_judged": "num_tasks_with_annotations",
    "annotations": "total_annotations_number",
}
RunRound = Callable[[LabelStudioProject, ProjectFolder], Round]
OpenProject = Callable[[Settings, int], LabelStudioProject]


def open_project(settings: Settings, project_id: int) -> LabelStudioProject:
    """A project as the trainer reads it: a look that Label Studio does not answer is left to the next one."""
    return LabelStudioProject(settings, project_id, patience_seconds=20)


class DueRounds:
    """Decides which projects get a round now."""

    def __init__(self, settings: Settings, run_round: RunRound, *, open_project: OpenProject = open_project) -> None:
        self._settings, self._run_round, self._open_project = settings, run_round, open_project
        self.is_stopping = False
        self._counted: dict[int, tuple[int, int]] = {}  # project id -> its number of versions, and annotations counted so far
        self._complaints: dict[int, str] = {}
        self._told: dict[int, Any] = {}  # project id -> how it stands, as it was told last

    def scheduled(self) -> None:
        """A round for each project with a judgement that is newer than its latest version."""
        self._each(lambda folder: 1)

    def look(self) -> None:
        """A round for each project that asked for one, whose last one was killed, or that has MIN_NEW_PAIRS new judgements."""
        self._each(self._num_needed)

    def _num_needed(self, folder: ProjectFolder) -> int:
        """How many new judgements it takes to begin a round now."""
        if folder.is_requested("train"):
            UnfinishedRound(folder).announce()  # what is killed from here on is taken up
            folder.take_request("train")
            return 0
        return 0 if _is_to_be_taken_up(folder) else self._settings.training.min_new_pairs

    def _each(self, num_needed: Callable[[ProjectFolder], int]) -> None:
        for folder in known_projects(self._settings.model_dir):
            if self.is_stopping:
                return
            needed: int | None = None
            try:
                needed = num_needed(folder)
                self._consider(folder, needed)
                self._complaints.pop(folder.project_id, None)
            except (PairloopError, OSError) as error:  # said once, not at every look
                if needed == 0:
                    with suppress(RegistryError):
                        folder.request("train")  # it was asked for, so it stays asked for
                if self._complaints.get(folder.project_id) != str(error):
                    logger.warning("project %d: %s", folder.project_id, error)
                    self._complaints[folder.project_id] = str(error)

    def _consider(self, folder: ProjectFolder, num_needed: int) -> None:
        self._end_round_of_before(folder)
        project = self._open_project(self._settings, folder.project_id)
        state = project.read()
        num_annotations = int(state.get("total_annotations_number") or 0)
        num_new = num_annotations - self._num_counted(folder, num_annotations)
        known = {name: state[field] for name, field in _TOLD.items() if state.get(field) is not None}
        self._tell_waiting(folder, num_new, known)
        if num_new < num_needed:
            return
        cause = f"{num_new} new judgements" if num_needed else "a training request"
        unfinished = UnfinishedRound(folder)
        if unfinished.exists and unfinished.num_attempts:
            cause = "the one before was killed"
        logger.info("project %d: round begins (%s)", folder.project_id, cause)
        self._tell_waiting(folder, num_new, {**known, "training_since": round(time.time(), 1)})
        try:
            unfinished.announce()
            ended = self._run_round(project, folder)
        finally:
            self._tell_waiting(folder, num_new, known)
        if unfinished.exists and not unfinished.num_attempts:  # its process could not even begin, and said so
            unfinished.remove()
        if ended.outcome in ("skipped", "failed"):  # it would end the same with the next judgement
            self._counted[folder.project_id] = (len(Versions(folder).all()), num_annotations)

    def _end_round_of_before(self, folder: ProjectFolder) -> None:
        """A trainer that was killed in a round left behind that one is running, and Label Studio may not answer for long."""
        if folder.project_id in self._told:
            return
        known = read_project(folder)
        if known.pop("training_since", None) is not None:
            self._tell_waiting(folder, known.pop("judgements", 0), known)

    def _tell_waiting(self, folder: ProjectFolder, num_judgements: int, known: dict[str, Any]) -> None:
        if self._told.get(folder.project_id) == (num_judgements, known):
            return
        with suppress(OSError):  # told at the next look; the round matters more
            tell_waiting(folder, num_judgements, project=known)
            self._told[folder.project_id] = (num_judgements, known)

    def _num_counted(self, folder: ProjectFolder, num_annotations: int) -> int:
        """How many of a project's annotations are not new; deleted ones must not hide those that come after."""
        num_versions = len(Versions(folder).all())
        known_versions, counted = self._counted.get(folder.project_id, (-1, 0))
        if known_versions != num_versions:
            counted = num_annotations - new_judgements(folder, num_annotations)
        self._counted[folder.project_id] = (num_versions, min(counted, num_annotations))
        return min(counted, num_annotations)


def _is_to_be_taken_up(folder: ProjectFolder) -> bool:
    """Whether a round was killed before it ended and may be tried again; one that may not is swept."""
    unfinished = UnfinishedRound(folder)
    if not unfinished.exists or is_running(folder):
        return False
    if unfinished.num_attempts < MAX_ATTEMPTS:
        return True
    unfinished.give_up()
    return False
