"""pairloop-backend: serves Label Studio, connects projects to itself, and fills them."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from preference.errors import PairloopError
from preference.settings import Settings


@click.group()
def main() -> None:
    """Answers prompts, scores answers, serves Label Studio. Settings come from the environment; see the README."""


@main.command()
def serve() -> None:
    """Run the backend under gunicorn."""
    from backend.server import Server, tallies_folder
    from preference.logs import set_up_logging

    settings = _settings()
    set_up_logging(settings)
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.basic_auth_user:
        logging.getLogger("backend").critical(  # shown whatever LOG_LEVEL is
            "HOST=%s is open to the network without a password: whoever reaches port %d may have answers scored and start training; "
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS, or HOST=127.0.0.1", settings.host, settings.port
        )  # fmt: skip
    with tallies_folder() as tallies:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(tallies)
        Server(settings, tallies=tallies).run()


@main.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The id in the project's address.")
@click.option("--create", "title", metavar="TITLE", help="Make a new project of that title instead.")
@click.option("--label-config", type=click.File(encoding="utf-8"), help="With --create: its labeling interface.")
def connect(project_id: int | None, title: str | None, label_config: Any) -> None:
    """Connect a project to the running backend, or mend its connection."""
    from backend.connect import connect as connect_project
    from preference.layout import LabelingLayout
    from preference.registry import Registry
    from preference.studio import LabelStudioProject

    if (project_id is None) == (title is None) or (title is not None and label_config is None):
        raise click.UsageError("Give --project ID, or --create TITLE with --label-config FILE.")
    settings = _settings()
    try:
        if title is not None:
            text = label_config.read()
            LabelingLayout.from_label_config(text)
            project = LabelStudioProject.create(settings, title=title, label_config=text)
        else:
            project = LabelStudioProject(settings, project_id or 0, patience_seconds=20)
        if not _is_up(f"{settings.address}/health"):  # from here; only Label Studio has to reach it
            click.echo(f"no answer from {settings.address}/health; asking Label Studio all the same", err=True)
        for sentence in connect_project(project, Registry(settings.model_dir, project.id), settings):
            click.echo(sentence)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project.id} is connected: {settings.label_studio_url}/projects/{project.id}")


@main.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The id in the project's address.")
def fill(project_id: int) -> None:
    """Answer and score a project's open tasks now, and watch; where a backend is at it, watch that."""
    from backend.foreground import fill as fill_project

    _work(lambda project, settings, console: fill_project(project, settings, console=console), project_id)


@main.command("import")
@click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The id in the project's address.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True))
def import_file(project_id: int, file: Path) -> None:
    """Import prompts as tasks that are answered and scored already: the fastest way. FILE: .txt, .csv, .jsonl or .json."""
    from backend.foreground import import_prompts

    _work(lambda project, settings, console: import_prompts(project, settings, file, console=console), project_id)


def _work(action: Any, project_id: int) -> None:
    """Runs a command on one project in the foreground."""
    from rich.console import Console
    from rich.logging import RichHandler

    from preference.studio import LabelStudioProject

    settings, console = _settings(), Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    logging.basicConfig(level=logging.WARNING, handlers=[RichHandler(console=console, show_path=False)], format="%(message)s")
    try:
        LabelStudioProject(settings, project_id, patience_seconds=10).read()  # fails soon where the address or the key is wrong
        action(LabelStudioProject(settings, project_id), settings, console)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        console.print("stopped; the next run goes on from here")
        sys.exit(130)


def _is_up(url: str) -> bool:
    """Whether the backend answers within a while; one that was just started takes some ten seconds."""
    import httpx
    from tenacity import RetryError, Retrying, stop_after_delay, wait_fixed

    try:
        for attempt in Retrying(stop=stop_after_delay(45), wait=wait_fixed(0.5)):
            with attempt:
                httpx.get(url, timeout=2).raise_for_status()
    except RetryError:
        return False
    return True


def _settings() -> Settings:
    try:
        return Settings.from_environ()
    except PairloopError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
