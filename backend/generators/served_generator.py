"""The generator version that writes a project's answers: the promoted one, looked up for each task, so that no restart is needed."""

from dataclasses import dataclass

from preference.errors import RegistryError
from preference.generation.jobs import Adapter
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.settings import Settings


@dataclass(frozen=True)
class ServedGenerator:
    """What is to write."""

    adapter: Adapter | None  # None is the base
    problem: str = ""  # why it is the base and not the promoted one


def served_generator(settings: Settings, project_id: int) -> ServedGenerator:
    """What is to write a project's answers; the base if the promoted version is away, or the engine takes no adapters."""
    try:
        adapter = Generators(ProjectFolder(settings.model_dir, project_id)).served()
    except (RegistryError, OSError) as error:
        return ServedGenerator(None, f"the base writes its answers: {error}")
    engine = settings.generator.engine
    if adapter is not None and engine == "echo":
        return ServedGenerator(
            None, f"{adapter.version} is promoted, but GENERATOR_ENGINE={engine} takes no adapters; its answers are as before"
        )
    return ServedGenerator(adapter)
