"""A version of a project's, exported."""

from pathlib import Path

from preference.errors import ExportError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.classifiers.model_folder import ExportedModel, check_new_folder, export_model
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs


def export_version(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, path: Path, *, extractors: Extractors,
    version: str | None = None, name: str = ".",
) -> ExportedModel:  # fmt: skip
    """Writes a version into the new folder `path`: the champion, or the one that "v3" or its whole name means.

    Raises:
        ExportError: it cannot be written there, the project has no champion, or there is no such classifier.
        RegistryError: there is no such version.
        ModelError: it, or its base, cannot be loaded.
        StudioError: Label Studio does not answer, or refuses.
    """
    check_new_folder(path)
    versions = Versions(folder)
    wanted = versions.find(version) if version else versions.champion()
    if wanted is None:
        raise ExportError(
            f"Project {project.id} serves no version yet; `pairloop-trainer once` trains one, or name one with --version."
        )
    context = RoundContext(project, folder, settings, extractors)
    card, model = versions.card(wanted), context.load(wanted)
    reading = read_pairs(context)
    return export_model(
        model, card, path, train=reading.train, holdout=reading.holdout, model_dir=settings.model_dir, device=extractors.device,
        name=name,
    )  # fmt: skip
