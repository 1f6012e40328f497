"""The commands that both programs have: those that need the domain alone, and those that the other program runs.

Importing and running them loads nothing heavy: `status --check` is a container's health check.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import click

from preference.commands.command_line import ONLY_PROJECT, PROJECT, begin, program_command, refusals
from preference.commands.status_rows import PROJECT_HEADER, VERSION_HEADER, forecast, project_row, project_values, version_row
from preference.commands.version_summary import VersionSummary, read_version_summaries
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.status import ProjectStatus, TrainerStatus, moment, read_project_status, read_trainer_status
from preference.projects.versions import Versions
from preference.settings import Settings

_REASON = click.option("--reason", default="", help="Why, for the log on its card.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs.")
_ELSEWHERE = {
    "export": ("trainer", "Write the judgements to a file that other trainers take."),
    "fill": ("backend", "Answer and score a project's open tasks now, and watch."),
}


def add_shared_commands(main: click.Group) -> None:
    """Gives a program the commands that both have, but those that it has already, and `--version` and `-h`."""
    main.context_settings["help_option_names"] = ["-h", "--help"]
    click.version_option(package_name="pairloop", message="%(package)s %(version)s")(main)
    for command in (status, train, versions, promote, rollback):
        main.add_command(command)
    for name, (program, help_text) in _ELSEWHERE.items():
        if name not in main.commands:
            main.add_command(_Elsewhere(name, program=program, help=help_text))


@click.command()
@ONLY_PROJECT
@click.option("--check", is_flag=True, help="Only say whether a trainer is running; the exit status says the same.")
@_JSON
def status(project_id: int | None, check: bool, as_json: bool) -> None:
    """Show whether the trainer runs, and how each project stands."""
    settings = begin()
    trainer = _trainer(settings)
    if check:
        if as_json:
            _print_json({"trainer": _trainer_values(trainer, settings)})
        else:
            _say_whether_running(trainer, settings)
        sys.exit(0 if trainer.is_running else 1)
    with refusals():
        projects = [_status(folder, trainer) for folder in _folders(settings, project_id)]
    if as_json:
        _print_json({"trainer": _trainer_values(trainer, settings), "projects": [project_values(status) for status in projects]})
        return
    _say_whether_running(trainer, settings)
    if not projects:
        click.echo("no project is known; `pairloop-backend connect --project ID` connects one")
        return
    _print_table(PROJECT_HEADER, [project_row(status) for status in projects], num_notes=2)


@click.command()
@ONLY_PROJECT
@_JSON
def versions(project_id: int | None, as_json: bool) -> None:
    """Show each version: its accuracy, verdict and promotions."""
    settings = begin()
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
    summaries: list[VersionSummary] = []
    problems = []
    for folder in folders:
        try:
            with refusals():
                summaries += list(read_version_summaries(folder))
        except click.ClickException as error:
            problems.append(error.message)
    if as_json:
        _print_json([asdict(version) for version in summaries])
    elif summaries or not problems:
        _print_table(VERSION_HEADER, [version_row(version) for version in summaries], num_notes=2)
    if problems:
        raise click.ClickException("\n".join(problems))


@click.command()
@ONLY_PROJECT
@click.option("--now", is_flag=True, help="Ask the trainer for a round now; the exit status is 1 if none is running.")
def train(project_id: int | None, now: bool) -> None:
    """Say when the next round begins; with --now, ask for one."""
    settings = begin()
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
        trainer = _trainer(settings)
        for sentence in _ask_for_rounds(folders, trainer, settings) if now else ():
            click.echo(sentence)  # at once: the next project may refuse
    only = "" if project_id is None else f" --project {project_id}"
    advice = f"start `pairloop-trainer run`, or train right here: `pairloop-trainer once{only}`"
    if now:
        if not trainer.is_running:
            raise click.ClickException(f"No trainer is running on MODEL_DIR={settings.model_dir}, so that waits; {advice}.")
        return
    _say_whether_running(trainer, settings)
    for folder in folders:
        click.echo(f"project {folder.project_id}: {forecast(read_project_status(folder, trainer))}")
    click.echo(f"`pairloop-trainer train --now{only}` asks for a round now" if trainer.is_running else advice)


@click.command()
@PROJECT
@click.argument("version")
@_REASON
def promote(project_id: int, version: str, reason: str) -> None:
    """Serve VERSION, whatever the judge said of it."""
    settings = begin()
    with refusals():
        Versions(ProjectFolder(settings.model_dir, project_id)).promote(version, by="hand", reason=reason)
    click.echo(f"project {project_id}: {version} is the champion; backends load it within a second")


@click.command()
@PROJECT
@_REASON
def rollback(project_id: int, reason: str) -> None:
    """Serve the version that was champion before. Once more goes further back."""
    settings = begin()
    with refusals():
        version = Versions(ProjectFolder(settings.model_dir, project_id)).rollback(reason=reason)
    click.echo(f"project {project_id}: {version} is the champion again; backends load it within a second")


class _Elsewhere(click.Command):
    """A command of the other program, which is run in place of this one, with all arguments as they are."""

    def __init__(self, name: str, *, program: str, help: str) -> None:  # noqa: A002 - click's name
        super().__init__(name, help=help)
        self._program = program

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args  # --help as well: what the options are, the other program knows
        return args

    def invoke(self, ctx: click.Context) -> Any:
        os.execv(sys.executable, [*program_command(self._program), str(self.name), *ctx.args])  # noqa: S606


def _folders(settings: Settings, project_id: int | None) -> list[ProjectFolder]:
    """The named project, or every known one."""
    known = list(known_projects(settings.model_dir))
    if project_id is None:
        return known
    folder = ProjectFolder(settings.model_dir, project_id)
    if not folder.path.is_dir():
        names = ", ".join(str(other.project_id) for other in known) or "none"
        raise click.ClickException(
            f"Project {project_id} is not known in MODEL_DIR={settings.model_dir}, which knows: {names}; "
            f"`pairloop-backend connect --project {project_id}` connects it."
        )
    return [folder]


def _some(folders: list[ProjectFolder], settings: Settings) -> list[ProjectFolder]:
    if not folders:
        raise click.ClickException(
            f"No project is known in MODEL_DIR={settings.model_dir}; `pairloop-backend connect --project ID` connects one."
        )
    return folders


def _trainer(settings: Settings) -> TrainerStatus:
    """How the trainer stands; if none is running, what one with these settings would go by."""
    trainer = read_trainer_status(settings.model_dir)
    num_needed = trainer.num_needed if trainer.is_running else None
    num_needed = settings.training.min_new_pairs if num_needed is None else num_needed
    return replace(trainer, schedule=trainer.schedule or settings.training.train_schedule, num_needed=num_needed)


def _trainer_values(trainer: TrainerStatus, settings: Settings) -> dict[str, Any]:
    return {
        "is_running": trainer.is_running,
        "model_dir": str(settings.model_dir.absolute()),
        "schedule": trainer.schedule,
        "next_round_at": moment(trainer.next_round_at),
        "num_needed": trainer.num_needed,
    }


def _status(folder: ProjectFolder, trainer: TrainerStatus) -> ProjectStatus:
    status = read_project_status(folder, trainer).with_versions()
    if not folder.is_disconnected:
        return status
    disconnected = f"it is disconnected; pairloop-backend connect --project {folder.project_id} connects it again"
    return replace(status, problems=(*status.problems, disconnected))


def _say_whether_running(trainer: TrainerStatus, settings: Settings) -> None:
    click.echo(f"trainer: {'running' if trainer.is_running else 'not running'} on {settings.model_dir.absolute()}")


def _ask_for_rounds(folders: list[ProjectFolder], trainer: TrainerStatus, settings: Settings) -> Iterator[str]:
    """Asks for a round of each project: a sentence a project, as soon as it was asked for.

    Not limited as requests by web are: who may run a command here may train as often as they like.
    """
    known = [read_project_status(folder, trainer) for folder in known_projects(settings.model_dir)]
    training = next((status.project_id for status in known if status.training_since is not None), None)
    when = f"within {settings.training.look_every_seconds:g} s" if training is None else f"after the round of project {training}"
    for folder in folders:
        if folder.is_disconnected:
            raise RegistryError(
                f"Project {folder.project_id} is disconnected, so no trainer looks after it; "
                f"`pairloop-backend connect --project {folder.project_id}` connects it again."
            )
        asked = "was asked for already" if folder.is_requested("train") else "is asked for"
        folder.request("train")
        taken = f"; the trainer takes that {when}" if trainer.is_running else ""
        yield f"project {folder.project_id}: a round {asked}{taken}"


def _print_table(header: Sequence[str], rows: list[list[str]], *, num_notes: int) -> None:
    from preference.commands.tables import print_table  # rich takes longer than a health check

    print_table(header, rows, num_notes=num_notes)


def _print_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=1, default=datetime.isoformat))
