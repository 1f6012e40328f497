"""The commands that both programs have: those that need the domain alone, and those that the other program runs.

Importing and running them loads nothing heavy: `status --check` is a container's health check.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from preference.commands.status_rows import PROJECT_HEADER, VERSION_HEADER, forecast, project_row, version_row
from preference.errors import PairloopError, RegistryError
from preference.logs import set_up_logging
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.overview import TrainerOverview, VersionOverview, read_projects, read_trainer, read_versions
from preference.projects.versions import Versions
from preference.settings import Settings

PROJECT = click.option(
    "--project", "project_id", metavar="ID", type=click.IntRange(min=1), required=True, help="The id in the project's address."
)
ONLY_PROJECT = click.option(
    "--project", "project_id", metavar="ID", type=click.IntRange(min=1), help="Only this project: the id in its address."
)
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


def program_command(program: str) -> list[str]:
    """What starts `backend` or `trainer` as a process of its own, whatever lies in the folder that this is run in."""
    # -m looks there first, and would run a file named trainer.py; it is right to where this was started by -m itself.
    flags = [] if sys.path[0] in ("", str(Path.cwd())) else ["-P"]
    return [sys.executable, *flags, "-m", program]


def read_settings() -> Settings:
    """The settings; where a variable is wrong, the process ends with status 2 and says so."""
    try:
        return Settings.from_environ()
    except PairloopError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def begin() -> Settings:
    """The same, after this process's log was set up."""
    settings = read_settings()
    set_up_logging(settings)
    return settings


@contextmanager
def refusals() -> Iterator[None]:
    """Makes what is refused while MODEL_DIR is read or written the one sentence that the command ends with."""
    try:
        yield
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        if error.filename is None:  # no file: whoever read what we print has left
            raise
        raise click.ClickException(f"{error.filename} cannot be read ({error.strerror}); mend that.") from None


@click.command()
@ONLY_PROJECT
@click.option("--check", is_flag=True, help="Only say whether a trainer is running; the exit status tells.")
@_JSON
def status(project_id: int | None, check: bool, as_json: bool) -> None:
    """Show whether the trainer runs, and how each project stands."""
    settings = begin()
    trainer = read_trainer(settings)
    if check:
        if as_json:
            _print_json({"trainer": asdict(trainer)})
        else:
            _say_whether_running(trainer)
        sys.exit(0 if trainer.is_running else 1)
    with refusals():
        projects = read_projects(_folders(settings, project_id), trainer)
    if as_json:
        _print_json({"trainer": asdict(trainer), "projects": [asdict(project) for project in projects]})
        return
    _say_whether_running(trainer)
    if not projects:
        click.echo("no project is known; `pairloop-backend connect --project ID` connects one")
        return
    _print_table(PROJECT_HEADER, [project_row(project, trainer) for project in projects], num_notes=2)


@click.command()
@ONLY_PROJECT
@_JSON
def versions(project_id: int | None, as_json: bool) -> None:
    """Show each version: its accuracy, verdict and promotions."""
    settings = begin()
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
    found: list[VersionOverview] = []
    problems = []
    for folder in folders:
        try:
            with refusals():
                found += list(read_versions(folder))
        except click.ClickException as error:
            problems.append(error.message)
    if as_json:
        _print_json([asdict(version) for version in found])
    elif found or not problems:
        _print_table(VERSION_HEADER, [version_row(version) for version in found], num_notes=2)
    if problems:
        raise click.ClickException("\n".join(problems))


@click.command()
@ONLY_PROJECT
@click.option("--now", is_flag=True, help="Ask the trainer for a round now; the exit status is 1 where none is running.")
def train(project_id: int | None, now: bool) -> None:
    """Say when the next round begins; with --now, ask for one."""
    settings = begin()
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
        trainer = read_trainer(settings)
        for sentence in _ask_for_rounds(folders, trainer, settings) if now else ():
            click.echo(sentence)  # at once: the next project may refuse
    only = "" if project_id is None else f" --project {project_id}"
    mend = f"start `pairloop-trainer run`, or train right here: `pairloop-trainer once{only}`"
    if now:
        if not trainer.is_running:
            raise click.ClickException(f"No trainer is running on MODEL_DIR={settings.model_dir}, so that waits; {mend}.")
        return
    _say_whether_running(trainer)
    for project in read_projects(folders, trainer):
        click.echo(f"project {project.project}: {forecast(project, trainer)}")
    click.echo(f"`pairloop-trainer train --now{only}` asks for a round now" if trainer.is_running else mend)


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


def _say_whether_running(trainer: TrainerOverview) -> None:
    click.echo(f"trainer: {'running' if trainer.is_running else 'not running'} on {trainer.model_dir}")


def _ask_for_rounds(folders: list[ProjectFolder], trainer: TrainerOverview, settings: Settings) -> Iterator[str]:
    """Asks for a round of each project: what comes of it, a sentence a project, as soon as it was asked for.

    Not limited as requests by web are: who may run a command here may train as often as they like.
    """
    known = read_projects(list(known_projects(settings.model_dir)), trainer)
    training = next((project.project for project in known if project.training_since is not None), None)
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


def _print_json(found: Any) -> None:
    click.echo(json.dumps(found, indent=1, default=datetime.isoformat))
