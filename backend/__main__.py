"""pairloop-backend: serves Label Studio, connects projects to itself, fills them, and says what is wrong."""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preference.commands.command_line import PROJECT, begin, keep_light, read_settings, refusals
from preference.commands.shared import add_shared_commands
from preference.errors import PairloopError
from preference.heavy_imports import lean_imports
from preference.projects.versions import Versions

if TYPE_CHECKING:
    pass

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)
_JUDGED = click.option(
    "--judged", is_flag=True, help="Import what the file says of two answers, such as chosen and rejected, as judgements."
)


@click.group()
def main() -> None:
    """Answers prompts, scores answers, serves Label Studio. Settings come from the environment; see docs/settings.md."""
    keep_light()


@main.command()
def serve() -> None:
    """Run the backend under gunicorn."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until gunicorn listens itself: loading takes seconds
    from backend.web.gunicorn_server import Server, tallies_folder

    settings = begin()
    if settings.server.host not in ("127.0.0.1", "localhost", "::1") and not settings.server.basic_auth_user:
        logging.getLogger("pairloop.backend").critical(  # logged whatever LOG_LEVEL is
            "HOST=%s is open to the network without a password: whoever reaches port %d may have answers scored and start training; "
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS, or HOST=127.0.0.1", settings.server.host, settings.server.port
        )  # fmt: skip
    with tallies_folder() as tallies:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(tallies)
        Server(settings, tallies=tallies).run()


@main.command()
@click.option("--project", "project_id", metavar="ID", type=click.IntRange(min=1), help="The id in the project's address.")
@click.option("--new", "title", metavar="TITLE", help="Make a new project of that title instead.")
@click.option("--create", "title_of_before", hidden=True)  # what --new was called
@click.option(
    "--label-config", type=click.File(encoding="utf-8-sig"), help="With --new: its labeling interface, instead of the default."
)
@click.option("--conversations", is_flag=True, help="With --new: prompts are conversations, lists of messages.")
@click.option(
    "--guidelines",
    type=click.File(encoding="utf-8-sig"),
    help="Show annotators this Markdown file as Label Studio's instruction.",
)
@click.option(
    "--prompts", type=_FILE, help="Also import these prompts, answered and scored: .txt, .csv, .jsonl, .json and others."
)
@_JUDGED
@click.option(
    "--add-controls",
    is_flag=True,
    help="Add keys, a tie, stars and a better answer to its labeling interface, after showing how.",
)
@click.option("--yes", is_flag=True, help="With --add-controls: do not ask.")
@click.option(
    "--overlap",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Have this share of the tasks, such as 0.2, judged by several people.",
)
@click.option("--annotators", metavar="N", type=click.IntRange(1, 20), help="With --overlap: by so many; 2 if it is not given.")
@click.option(
    "--learn-from", "earlier_id", metavar="ID", type=click.IntRange(min=1),
    help="An earlier project of the same kind, whose champion helps the first versions of this one.",
)  # fmt: skip
def connect(
    project_id: int | None, title: str | None, title_of_before: str | None, label_config: Any, conversations: bool,
    guidelines: Any, prompts: Path | None, judged: bool, add_controls: bool, yes: bool, overlap: float | None, annotators: int | None,
    earlier_id: int | None,
) -> None:  # fmt: skip
    """Connect a project to the backend, or fix its connection. Safe to run again."""
    from backend.commands.before_connecting import read_project, wait_for_backend
    from backend.connecting.config_notes import config_notes
    from backend.connecting.connect import connect as connect_project
    from backend.connecting.default_label_config import has_no_config
    from preference.labelling.demonstrations import DemonstrationLayout
    from preference.labelling.holdout import FEWEST_PROMPTS
    from preference.labelling.layouts import layout_of
    from preference.projects.folder import ProjectFolder
    from preference.studio.project import LabelStudioProject

    # What an option asks for is imported where it is given: else a connect with nothing to do would take a quarter longer.
    title = title or title_of_before
    if (project_id is None) == (title is None) or (label_config is not None and title is None):
        raise click.UsageError("Give --project ID, or --new TITLE (with --label-config FILE for one of your own).")
    if conversations and (title is None or label_config is not None):
        raise click.UsageError(
            "--conversations chooses the label config of a project that --new makes; a project that is there keeps its own."
        )
    if judged and prompts is None:
        raise click.UsageError("--judged is of --prompts FILE; give that as well.")
    if annotators is not None and overlap is None:
        raise click.UsageError("--annotators is of --overlap SHARE; give that as well, such as --overlap 0.2.")
    settings = read_settings()
    if guidelines:
        from backend.connecting.guidelines import instruction_of, set_guidelines

        if not (instruction := instruction_of(_text_of(guidelines))):
            raise click.ClickException(
                f"{guidelines.name} is empty; write down what makes an answer better, or omit --guidelines."
            )
    chosen: AbstractContextManager[LabelStudioProject]
    if title is not None:
        from backend.commands.new_project import new_project

        text = _text_of(label_config) if label_config else None
        chosen = new_project(settings, title, label_config=text, conversations=conversations, prompts=prompts)
    else:
        chosen = nullcontext(LabelStudioProject.for_command(settings.studio, project_id or 0))
    with refusals(), chosen as project:
        state = read_project(project, settings.studio)  # fails before the backend is waited for
        folder, has_done = ProjectFolder(settings.model_dir, project.id), False
        if add_controls:
            from backend.commands.annotators_page import add_controls_to

            has_done = add_controls_to(project, state, asks=not yes)
        wait_for_backend(settings.server)
        steps: list[Iterable[str]] = []
        if earlier_id is not None:
            from preference.reward_model.earlier_project import learn_from

            earlier = ProjectFolder(settings.model_dir, earlier_id)
            if sentence := learn_from(folder, earlier, base=settings.training.reward_base):
                steps.append([sentence])
        steps.append(connect_project(project, folder, settings, state=state))
        if guidelines:
            steps.append(set_guidelines(project, folder, instruction, state=state))
        if overlap is not None:
            from backend.connecting.overlap import Overlap, set_overlap

            steps.append(set_overlap(project, Overlap(overlap, annotators or 2), state=state))
        for sentence in chain.from_iterable(steps):
            click.echo(sentence)
            has_done = True
        layout = None if has_no_config(state) else layout_of(state["label_config"])
        champion = Versions(folder).champion()
    if not has_done:
        click.echo("there was nothing to do")
    click.echo(f"project {project.id} is connected: {settings.studio.page}/projects/{project.id}")
    for note in config_notes(layout) if layout is not None else []:
        click.echo(f"note: {note}", err=True)
    if champion is None and not isinstance(layout, DemonstrationLayout):
        click.echo(
            f"no suggestions yet: the first reward model is trained after {settings.training.min_pairs} judgements, "
            f"on {FEWEST_PROMPTS} prompts or more"
        )
    if prompts is not None:
        _import(project.id, prompts, judged=judged)


@main.command()
@PROJECT
def disconnect(project_id: int) -> None:
    """Undo `connect`: remove the connection and its webhook. Tasks, predictions, annotations and versions stay."""
    from backend.connecting.connect import disconnect as disconnect_project
    from preference.projects.folder import ProjectFolder
    from preference.studio.project import LabelStudioProject

    settings = read_settings()
    try:
        project = LabelStudioProject.for_command(settings.studio, project_id)
        done = disconnect_project(project, ProjectFolder(settings.model_dir, project_id), settings)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    for sentence in done or ["there was nothing to remove"]:
        click.echo(sentence)
    click.echo(f"project {project_id} is not connected; no task, prediction or annotation was touched")


@main.command()
@click.option(
    "--project",
    "project_ids",
    metavar="ID",
    type=click.IntRange(min=1),
    multiple=True,
    help="Only this project; may be given again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of {check, ok, found, fix}; ok is null if it was skipped.")
def doctor(project_ids: Sequence[int], as_json: bool) -> None:
    """Check everything, and say what to do about what is wrong. The exit status is 1 if something is."""
    from backend.doctor.examine import as_rows, examine, print_findings

    if as_json:
        findings = list(examine(project_ids))
        click.echo(json.dumps(as_rows(findings), indent=1, ensure_ascii=False))
    else:
        findings = print_findings(examine(project_ids))
    sys.exit(1 if any(finding.ok is False for finding in findings) else 0)


@main.command()
@PROJECT
def fill(project_id: int) -> None:
    """Answer and score a project's open tasks now, and watch. If a backend is at it, watch that one."""
    from backend.commands.fill import fill as fill_project

    _work(lambda project, settings, console: fill_project(project, settings, console=console), project_id)


@main.command("import")
@PROJECT
@click.argument("file", type=_FILE)
@_JUDGED
def import_file(project_id: int, file: Path, judged: bool) -> None:
    """Import prompts as tasks that are answered and scored. The fastest way.

    FILE: .txt, .csv, .tsv, .jsonl, .json or .parquet; also Label Studio's exports and public preference data, see docs/importing.md.
    """
    _import(project_id, file, judged=judged)


def _import(project_id: int, file: Path, *, judged: bool) -> None:
    with lean_imports():
        from backend.commands.import_prompts import import_prompts

    _work(lambda project, settings, console: import_prompts(project, settings, file, console=console, judged=judged), project_id)


def _text_of(file: Any) -> str:
    """What an opened file holds; one that is no UTF-8 ends the command with a sentence."""
    try:
        return str(file.read())
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None


def _work(action: Any, project_id: int) -> None:
    """Runs a command on one project in the foreground."""
    from rich.console import Console
    from rich.logging import RichHandler

    from preference.studio.project import LabelStudioProject

    settings, console = read_settings(), Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    logging.basicConfig(level=logging.WARNING, handlers=[RichHandler(console=console, show_path=False)], format="%(message)s")
    try:
        LabelStudioProject.for_command(settings.studio, project_id).read()  # fails soon if the address or the key is wrong
        action(LabelStudioProject.for_daemon(settings.studio, project_id), settings, console)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        console.print("stopped; the next run goes on from here")
        sys.exit(130)


add_shared_commands(main)

if __name__ == "__main__":
    main(prog_name="pairloop-backend")
