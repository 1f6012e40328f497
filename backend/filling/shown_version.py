"""What is known of the version that a project shows in Label Studio, from one pass to the next."""

from dataclasses import dataclass

from backend.connecting.shown_version import fix_version
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject


@dataclass
class ShownVersion:
    """The version in the title of the project's connection to this backend, and in the project's model_version."""

    scored: str | None = None  # the version by which every open task was scored
    # Whether the last whole pass did not have to set them. Until then the connections are listed, for which Label Studio calls
    # /health and /setup of each: it saves whole rows, so a page view that began earlier puts an old title back.
    is_sure: bool = False
    certified: str | None = None  # the mark that covered tasks have; empty if there is no certificate, None if that is not known
    marked_to: int | None = 0  # the task after which open ones are still to be marked; None if all are

    def show(self, project: LabelStudioProject, folder: ProjectFolder, version: str) -> bool:
        """Whether title or model_version had to be set to `version`."""
        return fix_version(project, folder, version, host=folder.read_host(), is_thorough=not self.is_sure)
