"""pairloop-backend: serves Label Studio, and connects projects to itself."""

import os
import shutil
import sys
import tempfile
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
    from backend.server import Server

    settings = _settings()
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.basic_auth_user:
        click.echo(f"warning: HOST={settings.host} is open to the network; set BASIC_AUTH_USER and BASIC_AUTH_PASS", err=True)
    figures = tempfile.mkdtemp(prefix="pairloop-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
    try:
        Server(settings).run()
    finally:
        shutil.rmtree(figures, ignore_errors=True)


@main.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The id in the project's address.")
@click.option("--create", "title", metavar="TITLE", help="Make a new project of that title instead.")
@click.option("--label-config", type=click.File(encoding="utf-8"), help="With --create: its labeling interface.")
def connect(project_id: int | None, title: str | None, label_config: Any) -> None:
    """Connect a project to the running backend, or mend its connection."""
    from backend.connect import connect as connect_project
    from preference.registry import Registry
    from preference.studio import LabelStudioProject

    if (project_id is None) == (title is None) or (title is not None and label_config is None):
        raise click.UsageError("Give --project ID, or --create TITLE with --label-config FILE.")
    settings = _settings()
    try:
        if title is not None:
            project = LabelStudioProject.create(settings, title=title, label_config=label_config.read())
        else:
            project = LabelStudioProject(settings, project_id or 0, patience_seconds=20)
        for sentence in connect_project(project, Registry(settings.model_dir, project.id), settings):
            click.echo(sentence)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project.id} is connected: {settings.label_studio_url}/projects/{project.id}")


def _settings() -> Settings:
    try:
        return Settings.from_environ()
    except PairloopError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
