"""Which reward model answers a request: the one that is served, or the version that it names.

Covered: requests that name one version after another: two that are not served are kept in memory, and no more.
"""

from collections import OrderedDict
from pathlib import Path

from werkzeug.exceptions import NotFound, ServiceUnavailable

from backend.scoring.champion import Champion, Champions, ServedVersion
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.version_name import VersionName
from preference.projects.versions import UNTRAINED, Versions

_MOST_PINNED = 2
_LOADING_SECONDS = 5


class ServedVersions:
    """The versions that requests for rewards name. For one thread at a time."""

    def __init__(self, model_dir: Path, champions: Champions) -> None:
        self._model_dir, self._champions = model_dir, champions
        self._pinned: OrderedDict[tuple[int, str], ServedVersion] = OrderedDict()

    def find(self, name: VersionName) -> ServedVersion:
        """The version of that name, loaded if it is not served.

        Raises:
            NotFound: there is no such project or version.
            ServiceUnavailable: it is being loaded, or is refused.
            PairloopError: it cannot be loaded.
        """
        folder = ProjectFolder(self._model_dir, name.project)
        if not folder.path.is_dir():
            raise NotFound(f"There is no project {name.project} here; `pairloop-backend connect` makes one known.")
        champion = self._champions.of(name.project)
        serving = champion.serving
        if name.version is None:
            return serving or _not_served(champion, name.project)
        try:
            version = Versions(folder).find(name.version)
        except RegistryError as error:
            raise NotFound(str(error)) from None
        if serving is not None and serving.version == version:
            return serving
        return self._load(folder, version)

    def _load(self, folder: ProjectFolder, version: str) -> ServedVersion:
        key = (folder.project_id, version)
        if key not in self._pinned:
            while len(self._pinned) >= _MOST_PINNED:
                self._pinned.popitem(last=False)  # before another takes its memory
            self._pinned[key] = ServedVersion(self._champions.load(folder, version), version)
        self._pinned.move_to_end(key)
        return self._pinned[key]


def _not_served(champion: Champion, project_id: int) -> ServedVersion:
    if champion.problem:
        raise ServiceUnavailable(f"Project {project_id}: {champion.problem}", retry_after=_LOADING_SECONDS)
    version = champion.version
    if version == UNTRAINED:
        raise NotFound(f"Project {project_id} has no version yet that is served; `pairloop-trainer once` trains one.")
    raise ServiceUnavailable(f"Project {project_id}: {version} is being loaded; try again.", retry_after=_LOADING_SECONDS)
