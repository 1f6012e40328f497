"""The commands that both programs have: those that need the domain alone, and those that the other program runs.

Importing and running them loads nothing heavy: `status --check` is a container's health check.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from preference.commands.command_line import ONLY_PROJECT, PROJECT, begin, program_command, refusals
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators, of_name
from preference.projects.published import Published
from preference.projects.versions import Versions

_REASON = click.option("--reason", default="", help="Why, for the log on its card.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs.")
_ELSEWHERE = {
    "export": ("trainer", "Write the judgements, or the reward model, for other programs."),
    "fill": ("backend", "Answer and score a project's open tasks now, and watch."),
}


def add_shared_commands(main: click.Group) -> None:
    """Gives a program the commands that both have, but those that it has already, and `--version` and `-h`."""
    names: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
    main.context_settings.update(names)
    click.version_option(package_name="pairloop", message="%(package)s %(version)s")(main)
    for command in (status, train, versions, generators, promote, rollback, score):
        command.context_settings.update(names)  # click keeps the names that a command was first called with, as by itself
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
    from preference.commands.listings import list_status

    list_status(begin(), project_id, check=check, as_json=as_json)


@click.command()
@ONLY_PROJECT
@_JSON
def versions(project_id: int | None, as_json: bool) -> None:
    """Show each version: its accuracy, verdict and promotions."""
    from preference.commands.listings import list_versions

    list_versions(begin(), project_id, as_json=as_json)


@click.command()
@ONLY_PROJECT
@click.option("--answers", "version", metavar="VERSION", help="Show what VERSION of --project, and the one beside it, wrote.")
@_JSON
def generators(project_id: int | None, version: str | None, as_json: bool) -> None:
    """Show each version of a generator that learnt."""
    from preference.commands.listings import list_generators

    if version is not None:
        from preference.commands.generator_answers import show_answers

        if project_id is None:
            raise click.UsageError("--answers needs --project: versions of two projects may have one name.")
        show_answers(begin(), project_id, version, as_json=as_json)
        return
    list_generators(begin(), project_id, as_json=as_json)


@click.command()
@ONLY_PROJECT
@click.option("--now", is_flag=True, help="Ask the trainer for a round now; the exit status is 1 if none is running.")
def train(project_id: int | None, now: bool) -> None:
    """Say when the next round begins; with --now, ask for one."""
    from preference.commands.listings import list_next_rounds

    list_next_rounds(begin(), project_id, asks_for_one=now)


@click.command()
@PROJECT
@click.argument("version")
@_REASON
def promote(project_id: int, version: str, reason: str) -> None:
    """Serve VERSION, whatever its verdict.

    A reward model (v3-...), a generator that learnt (g1-...), or the base that it learnt from (base).
    """
    settings = begin()
    with refusals():
        versions = of_name(ProjectFolder(settings.model_dir, project_id), version)
        versions.promote(version, by="hand", reason=reason)
    click.echo(f"project {project_id}: {version} is the {versions.title}; {versions.taken_up}")


@click.command()
@PROJECT
@click.option("--generator", "is_generator", is_flag=True, help="The generator's versions, not the reward model's.")
@_REASON
def rollback(project_id: int, is_generator: bool, reason: str) -> None:
    """Serve the version that was served before. Once more goes further back."""
    settings = begin()
    folder = ProjectFolder(settings.model_dir, project_id)
    versions: Published[Any] = Generators(folder) if is_generator else Versions(folder)
    with refusals():
        version = versions.rollback(reason=reason)
    click.echo(f"project {project_id}: {version} is the {versions.title} again; {versions.taken_up}")


@click.command()
@PROJECT
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@click.option("--prompt", help="A prompt, whose answers are given with --answer, instead of FILE.")
@click.option("--answer", "answers", multiple=True, help="With --prompt: an answer; may be given several times.")
@click.option("--best", is_flag=True, help="Keep the best answer of each row only.")
@click.option("--version", metavar="VERSION", help="This version, such as v3, instead of the champion.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="-",
    help="A file to write, instead of the output.",
)
def score(
    project_id: int, path: Path, prompt: str | None, answers: tuple[str, ...], best: bool, version: str | None, out: Path
) -> None:  # fmt: skip
    """Give each answer in FILE its reward.

    FILE holds a prompt and its answers in each line, as JSON; without FILE, they come from a pipe.
    """
    from preference.commands.scored_answers import rows_of, score_rows

    if (prompt is None) != (not answers):
        raise click.UsageError("--prompt and --answer go together.")
    if prompt is None and str(path) == "-" and sys.stdin.isatty():
        raise click.UsageError("name a FILE of rows, pipe them in, or give --prompt and --answer.")
    settings = begin()
    rows = rows_of(path) if prompt is None else [("--prompt", {"prompt": prompt, "answers": list(answers)})]
    with refusals():
        named = f"{project_id}@{version}" if version else str(project_id)
        score_rows(rows, named, device=settings.device, model_dir=settings.model_dir, best=best, out=out)


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
