"""What `connect` makes in a Label Studio, and what a test looks at there."""

from backend.connecting.connect import connect, disconnect
from backend.connecting.shown_version import fix_version
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG

ADDRESS = "http://backend:9090"
HOST = "backend:9090"


class House:
    """A project of the double, its folder, and a backend's settings."""

    def __init__(self, studio: StudioDouble, settings: Settings, *, label_config: str = LABEL_CONFIG) -> None:
        self.studio, self.settings = studio, settings
        self.id = studio.add_project(label_config)
        self.project = LabelStudioProject(settings.studio, self.id)
        self.folder = ProjectFolder(settings.model_dir, self.id)

    def connect(self, settings: Settings | None = None) -> list[str]:
        return list(connect(self.project, self.folder, settings or self.settings))

    def disconnect(self, settings: Settings | None = None) -> list[str]:
        return disconnect(self.project, self.folder, settings or self.settings)

    def fix(self, version: str, *, host: str | None = HOST, is_thorough: bool = False) -> bool:
        return fix_version(self.project, self.folder, version, host=host, is_thorough=is_thorough)

    def titles(self) -> list[str]:
        return [row["title"] for row in self.studio.rows.values() if row["project"] == self.id]

    def version(self) -> str:
        return str(self.studio.projects[self.id]["model_version"])
