"""The version that Label Studio shows for a project: the backend's title and project.model_version, which the filler keeps right.

Label Studio keeps its score column and uncertainty sampling working only if the backend's title, project.model_version and
the predictions' model_version are one string: the version's name.
"""

from urllib.parse import urlsplit

from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.studio.connections import Connection
from preference.studio.project import LabelStudioProject


def fix_version(
    project: LabelStudioProject, folder: ProjectFolder, version: str, *, host: str | None, is_thorough: bool = False
) -> bool:
    """Whether the backend's title or project.model_version had to be set to `version`.

    If so, call it again after a while. Label Studio saves whole rows: a page view that began before, or the very request that
    adds a row, puts the old title back. Only the row shows that.

    `host`: the "host:port" at which Label Studio reached this backend last, or None before it did.
    `is_thorough`: lists the rows in any case, for which Label Studio calls /health and /setup of each. Without it, they are
    listed only if project.model_version is wrong.
    """
    model_version = project.read().get("model_version")
    if not is_thorough and model_version == version:
        return False
    row = _our_row(project, folder, host)
    return row is not None and show_version(project, row, version, model_version=model_version)


def show_version(project: LabelStudioProject, row: Connection, version: str, *, model_version: str | None) -> bool:
    """Whether anything had to be set. `model_version`: the project's."""
    if row.title == version and model_version == version:
        return False
    if row.title != version:
        project.connections.retitle(row, version)
        model_version = project.read().get("model_version")  # it follows the title only if it was the old title
    if model_version != version:
        project.update(model_version=version)
    return True


def _our_row(project: LabelStudioProject, folder: ProjectFolder, host: str | None) -> Connection | None:
    """The project's row for this backend: one that bears a title we gave it, or whose backend named a version of ours.

    Among several, that at the host. Alone a host proves nothing: whoever calls /setup may name one.
    """
    names = {UNTRAINED, *Versions(folder).all()}
    known = [row for row in project.connections.all() if not names.isdisjoint((row.title, row.named))]
    return max(known, key=lambda row: (urlsplit(row.url).netloc == host, row.title in names), default=None)
