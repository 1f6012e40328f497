"""`pairloop-trainer align`."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from preference.commands.command_line import PROJECT, begin, refusals
from preference.errors import StudioKeyError, StudioUnreachable
from preference.heavy_imports import heavy_imports
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from trainer.torch_setup import extractors_of

if TYPE_CHECKING:
    from preference.studio.project import LabelStudioProject

_BEST_OF_N = "best-of-n"


@click.command()
@PROJECT
@click.option(
    "--method",
    type=click.Choice(["dpo", "kto", "sft", "hindsight", "rloo", "grpo", _BEST_OF_N]),
    help=f"How it learns: without this, as one did that was killed, or else by dpo. With {_BEST_OF_N} it does not: it measures what choosing among several answers by reward would do.",
)
@click.option("--chosen", is_flag=True, help="With sft: from the answers that people chose, not those that they wrote.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="For the steps in which it learns, in place of ALIGN_MINUTES."
)
@click.option("--json", "as_json", is_flag=True, help="Say how it ended as a line of JSON.")
def align(project_id: int, method: str | None, chosen: bool, minutes: float | None, as_json: bool) -> None:
    """Let the model that writes answers learn from the judgements. An alignment that was killed is taken up."""
    from preference.studio.project import LabelStudioProject
    from trainer.aligning.alignment import ALIGNMENT, UnfinishedAlignment
    from trainer.rounds.outcome import Round, run_here, write_outcome

    if method == _BEST_OF_N and minutes is not None:
        raise click.UsageError(f"--minutes is for steps; {_BEST_OF_N} has none.")
    if chosen and method != "sft":
        raise click.UsageError("--chosen goes with --method sft.")
    settings = begin()
    project, folder = LabelStudioProject.for_command(settings.studio, project_id), ProjectFolder(settings.model_dir, project_id)

    def say(line: str) -> None:
        click.echo(f"project {project_id}: {line}", err=as_json)

    if method == _BEST_OF_N:
        _measure(project, folder, settings, say=say, as_json=as_json)
        return

    def run() -> Round:
        extractors = extractors_of(settings)
        with heavy_imports():
            from trainer.aligning.align import run_alignment
            from trainer.generator_training.recipe import CHOSEN, DPO, METHODS
        killed = UnfinishedAlignment(folder).recipe if method is None else None
        recipe = CHOSEN if chosen else METHODS[method] if method else killed or DPO
        return run_alignment(project, folder, settings, recipe, extractors=extractors, minutes=minutes, say=say)

    with refusals():
        is_asked_for, is_new = folder.is_requested("align"), not folder.path.is_dir()
        if is_new:
            with suppress(StudioKeyError, StudioUnreachable):  # which the alignment says, too
                project.read()  # else a number that is no project's would be known from now on
        ended = run_here(folder, run, work=ALIGNMENT)
        if is_asked_for and isinstance(ended, Round):
            folder.take_request("align")  # that was this alignment
    if as_json:
        click.echo(write_outcome(ended))
        sys.exit(0 if isinstance(ended, Round) and ended.outcome != "failed" else 1)
    if not isinstance(ended, Round) or ended.version is None:
        raise click.ClickException(ended.reason if isinstance(ended, Round) else str(ended))
    click.echo(f"project {project_id}: {ended}")


def _measure(
    project: "LabelStudioProject", folder: ProjectFolder, settings: Settings, *, say: Callable[[str], object], as_json: bool
) -> None:
    extractors = extractors_of(settings)
    with heavy_imports():
        from trainer.aligning.best_of_n import measure_best_of_n
    with refusals():
        measured = measure_best_of_n(project, folder, settings, extractors=extractors, say=say)
    if as_json:
        click.echo(json.dumps(asdict(measured)))
        return
    for line in measured.lines():
        say(line)
