"""When a project's first round begins: as soon as it can end with a verdict, and no earlier."""

import logging
import time
from collections.abc import Callable

from preference.errors import PairloopError, StudioError
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.rounds.reading import read_pairs
from trainer.rounds.reading_context import ReadingContext

logger = logging.getLogger("pairloop.daemon")
ReadEvidence = Callable[[LabelStudioProject, ProjectFolder], str]


class FirstRounds:
    """What the first rounds of projects wait for. A project's judgements are read when their number has changed."""

    def __init__(self, read: ReadEvidence) -> None:
        """`read`: what is missing for a verdict, in words; empty if nothing is."""
        self._read = read
        self._missing: dict[int, tuple[int, str | None]] = {}  # by project id: at which number of judgements what was missing

    def missing(self, project: LabelStudioProject, folder: ProjectFolder, num_judgements: int) -> str | None:
        """What is missing, in words; empty if nothing is. None if a round has to say why there is none.

        Raises:
            StudioError: Label Studio does not answer, or refuses.
        """
        known, before = self._missing.get(folder.project_id, (None, None))
        if known == num_judgements:
            return before
        missing: str | None = None
        try:
            missing = self._read(project, folder)
        except StudioError:
            raise
        except PairloopError as error:
            logger.debug("project %d: its round will say: %s", folder.project_id, error)
        self._missing[folder.project_id] = (num_judgements, missing)
        if missing and missing != before:
            logger.info("project %d: no round yet: %s", folder.project_id, missing)
        return missing

    def forget(self, project_id: int) -> None:
        """Nothing is known of this project any more."""
        self._missing.pop(project_id, None)


def evidence_by(settings: Settings, clock: Callable[[], float] = time.time) -> ReadEvidence:
    """What reads a project's judgements as its round would."""

    def read(project: LabelStudioProject, folder: ProjectFolder) -> str:
        return read_pairs(ReadingContext(project, folder, settings, clock=clock)).evidence.missing

    return read
