"""pairloop-trainer: retrains the reward model when there are new judgements, and promotes what is better."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import click

from preference.commands.command_line import ONLY_PROJECT, PROJECT, begin, keep_light, refusals
from preference.commands.shared import add_shared_commands
from preference.errors import PairloopError, StudioKeyError, StudioUnreachable
from preference.heavy_imports import heavy_imports
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.generators import Generators, of_name
from preference.projects.versions import Versions
from preference.setting_groups import StudioSettings
from preference.settings import Settings
from trainer.aligning.align_command import align
from trainer.certifying.certify_command import certify
from trainer.exporting.export_command import export
from trainer.exporting.push_command import push
from trainer.llm_judge.judge_command import judge
from trainer.torch_setup import extractors_of

if TYPE_CHECKING:
    from preference.report_card.card import ReportCard


@click.group()
def main() -> None:
    """Trains reward models from judgements. Settings come from the environment; see docs/settings.md."""
    keep_light()


@main.command()
def run() -> None:
    """Run the trainer until it is stopped. It trains on its schedule, on request and on enough new judgements."""
    # Until the schedule listens itself: loading takes seconds. Not SystemExit, which a library that is being imported may swallow.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from trainer.aligning.alignment import ALIGNMENT
    from trainer.daemon.round_process import RoundProcesses
    from trainer.daemon.schedule import run_schedule

    settings = begin()
    rounds, alignments = RoundProcesses(), RoundProcesses(work=ALIGNMENT)

    def interrupt() -> None:
        for processes in (rounds, alignments):
            processes.interrupt()

    try:
        run_schedule(settings, rounds, run_alignment=alignments, interrupt=interrupt)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@ONLY_PROJECT
@click.option("--json", "as_json", is_flag=True, help="Say how each round ended as a line of JSON.")
def once(project_id: int | None, as_json: bool) -> None:
    """Run one round now for each known project. One that was killed is taken up."""
    from preference.studio.project import LabelStudioProject
    from trainer.rounds.outcome import Round, run_here, write_outcome

    settings = begin()
    with refusals():
        folders = [ProjectFolder(settings.model_dir, project_id)] if project_id else list(known_projects(settings.model_dir))
    if not folders:
        raise click.ClickException(
            f"No project is known in MODEL_DIR={settings.model_dir}; connect one, or name it with --project."
        )
    runner = cache(_round_runner)  # loads torch, once there is a project that no other process is at
    failed = False
    for folder in folders:
        project = LabelStudioProject.for_command(settings.studio, folder.project_id)
        try:
            with refusals():
                is_asked_for, is_new = folder.is_requested("train"), not folder.path.is_dir()
                if is_new:
                    with suppress(StudioKeyError, StudioUnreachable):  # which the round says, too
                        project.read()  # else a number that is no project's would be known from now on
                ended = run_here(folder, lambda: runner(settings)(project, folder))  # noqa: B023 - called before the next
                if is_asked_for and isinstance(ended, Round):
                    folder.take_request("train")  # that was this round
        except click.ClickException as error:
            if len(folders) == 1:
                raise
            click.echo(f"Error: project {folder.project_id}: {error.message}", err=True)  # the others have their rounds
            failed = True
            continue
        failed = failed or (ended.outcome == "failed" if isinstance(ended, Round) else isinstance(ended, StudioUnreachable))
        click.echo(write_outcome(ended) if as_json else f"project {folder.project_id}: {ended}")
    sys.exit(1 if failed else 0)


@main.command()
@PROJECT
@click.argument("version", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
@click.option("--mark-suspects", is_flag=True, help="Also mark the tasks of its most suspect labels in Label Studio, as meta.")
def report(project_id: int, version: str | None, as_json: bool, mark_suspects: bool) -> None:
    """Show a version's report card, a generator's (g1-...) too. Without VERSION, the champion's, or the latest's if there is none."""
    from preference.projects.annotator_names import read_names
    from preference.report_card.certificate import read_standing, values_of
    from preference.report_card.raters import rater_values, read_raters
    from trainer.reporting.tables import print_card, print_sections, print_standing, raters

    settings = begin()
    folder = ProjectFolder(settings.model_dir, project_id)
    if version is not None and isinstance(generators := of_name(folder, version), Generators):
        _report_generator(generators, version, as_json=as_json)
        return
    with refusals():
        version = version or Versions(folder).champion() or next(reversed(Versions(folder).all()), None)
        if version is None:
            raise click.ClickException(f"Project {project_id} has no version yet; `pairloop-trainer once` trains one.")
        card, others = Versions(folder).card(version), read_raters(folder.path)
        names = read_names(folder) if settings.annotator_names else {}
        certified = read_standing(folder.path, Versions(folder).champion(), now=time.time(), version=version)
    if as_json:
        values = {**card.to_values(), "raters": [rater_values(rater) for rater in others]}
        if certified is not None:
            values["certificate"] = {
                **values_of(certified.certificate),
                "audit": values_of(certified.audit),
                "problem": certified.problem,
            }
        _echo_json(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        print_card(card, names=names)
        print_sections(raters(others))
        if certified is not None:
            print_standing(certified)
    if mark_suspects:
        _mark_suspects(settings.studio, folder, card)


def _report_generator(generators: Generators, version: str, *, as_json: bool) -> None:
    from trainer.reporting.generator_tables import print_generator_card

    with refusals():
        card = generators.card(version)
    if as_json:
        _echo_json(card.to_json())
    else:
        print_generator_card(card)


def _echo_json(text: str) -> None:
    click.echo(text.encode("utf-8", "replace").decode())  # half an emoji in a damaged file is no UTF-8


def _mark_suspects(studio: StudioSettings, folder: ProjectFolder, card: "ReportCard") -> None:
    from preference.studio.project import LabelStudioProject
    from trainer.reporting.suspect_labels import REFUSED, mark_suspects

    suspects = [suspect for other in Versions(folder).cards() for suspect in other.report.suspects]
    marked_before = {suspect.task for suspect in suspects if suspect.task is not None}
    project = LabelStudioProject.for_command(studio, folder.project_id)
    try:
        counts = mark_suspects(project, card.report.suspects, version=card.version, marked_before=marked_before)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    marked = ", ".join(f"{count} {what}" for what, count in counts.items()) or "no suspect labels"
    click.echo(f"project {folder.project_id}: {marked} (task meta pairloop_suspect)", err=True)
    if counts[REFUSED]:
        raise click.ClickException("Not all suspect labels are marked; the lines above say why, and a second run goes on.")


def _round_runner(settings: Settings):  # type: ignore[no-untyped-def]
    with heavy_imports():
        from trainer.rounds.round import run_round

    extractors = extractors_of(settings)
    return lambda project, folder: run_round(project, folder, settings, extractors=extractors)


main.add_command(align)
main.add_command(certify)
main.add_command(export)
main.add_command(judge)
main.add_command(push)
add_shared_commands(main)

if __name__ == "__main__":
    main(prog_name="pairloop-trainer")
