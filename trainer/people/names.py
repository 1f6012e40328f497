"""Whom the numbers of annotators stand for, as Label Studio has it."""

import logging
from collections.abc import Iterable

from preference.errors import RegistryError, StudioError
from preference.labelling.pairs import PreferencePair
from preference.projects.annotator_names import write_names
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject

logger = logging.getLogger("pairloop.reporting")


def note_names(
    project: LabelStudioProject, folder: ProjectFolder, pairs: Iterable[PreferencePair], *, is_wanted: bool
) -> None:  # fmt: skip
    """Keeps the names of those who judged, for dashboard and report; without `is_wanted`, none. No round is lost for a name."""
    try:
        judged = {pair.annotator_id for pair in pairs}
        names = project.annotator_names() if is_wanted and judged - {None} else {}
        write_names(folder, {who: name for who, name in names.items() if who in judged})
    except (StudioError, RegistryError) as error:
        logger.warning("project %d: annotators stay numbers: %s", project.id, error)
