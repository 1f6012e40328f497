"""`pairloop-trainer certify`."""

import json

import click

from preference.commands.command_line import PROJECT, begin, refusals
from preference.heavy_imports import heavy_imports
from preference.projects.folder import ProjectFolder
from trainer.torch_setup import extractors_of

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@PROJECT
@click.option(
    "--agreement", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.8, show_default=True,
    help="How often people have to choose the model's side.",
)  # fmt: skip
@click.option(
    "--confidence", type=_SHARE, default=0.9, show_default=True, help="The probability that no certificate of this version is false."
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def certify(project_id: int, agreement: float, confidence: float, as_json: bool) -> None:
    """Say where the champion's side may stand for people's.

    It finds the confidence from which on they choose it often enough, by blind judgements alone. That nobody can know yet is a result, too.
    """
    settings = begin()
    extractors = extractors_of(settings)
    with heavy_imports():
        from preference.report_card.certificate import values_of
        from preference.studio.project import LabelStudioProject
        from trainer.certifying.certify import certify as look_at
        from trainer.rounds.context import RoundContext

    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)
    with refusals():
        certificate = look_at(RoundContext(project, folder, settings, extractors), target=agreement, confidence=confidence)
    click.echo(json.dumps(values_of(certificate), indent=1) if as_json else f"project {project_id}: {certificate}")
