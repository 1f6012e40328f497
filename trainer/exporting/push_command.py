"""`pairloop-trainer push`."""

import tempfile
from pathlib import Path

import click

from preference.commands.command_line import PROJECT, begin, refusals
from preference.projects.folder import ProjectFolder
from trainer.torch_setup import extractors_of


@click.command()
@PROJECT
@click.option(
    "--to", "repository", metavar="ORG/NAME", required=True, help="The repository of the model on the Hugging Face Hub."
)
@click.option(
    "--private", "is_private", is_flag=True, help="Make the repositories private; refused if they are there and public."
)
@click.option("--pairs", "dataset", metavar="ORG/NAME", help="Also send the judgements, as pairs, into this data set.")
@click.option("--version", metavar="VERSION", help="This version, such as v3, instead of the champion.")
def push(project_id: int, repository: str, is_private: bool, dataset: str | None, version: str | None) -> None:
    """Send a reward model to the Hugging Face Hub.

    What is sent is the folder that `export --format model` writes. The token is HF_TOKEN, or the one of `hf auth login`.
    """
    settings = begin()
    from trainer.exporting.hub import check_access, open_repository, upload

    with refusals():
        for name in filter(None, (repository, dataset)):
            check_access(name)
    extractors = extractors_of(settings)
    from preference.studio.project import LabelStudioProject
    from trainer.classifiers.project_model import export_version
    from trainer.exporting.dataset_folder import pairs_to_share, write_dataset

    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)
    with refusals(), tempfile.TemporaryDirectory() as scratch:
        model, pairs = Path(scratch) / "model", Path(scratch) / "pairs"
        exported = export_version(project, folder, settings, model, extractors=extractors, version=version, name=repository)
        if dataset:  # before anything is sent
            pairs.mkdir()
            write_dataset(pairs_to_share(project, folder, settings), pairs, project_id=project_id, name=dataset)
        message = f"{exported.card.version} of Label Studio project {project_id}, by Pairloop"
        # Both before the first is sent: of a model and its pairs, neither goes alone because the other is refused.
        at = open_repository(repository, kind="model", is_private=is_private)
        pairs_at = open_repository(dataset, kind="dataset", is_private=is_private) if dataset else ""
        upload(model, repository, kind="model", message=message)
        click.echo(f"project {project_id}: {exported} is at {at}")
        if dataset:
            upload(pairs, dataset, kind="dataset", message=message)
            click.echo(f"project {project_id}: its pairs are at {pairs_at}")
