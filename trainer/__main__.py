"""pairloop-trainer: retrains the reward model when there are new judgements, and promotes what is better."""

import logging
import sys

import click

from preference.errors import PairloopError
from preference.registry import Registry, known_projects
from preference.settings import Settings

_project_option = click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The project's id.")


@click.group()
def main() -> None:
    """Trains reward models from judgements. Settings come from the environment; see the README."""


@main.command()
def run() -> None:
    """Retrain on the schedule, on request and on enough new judgements, until stopped."""
    from trainer.schedule import run_schedule

    settings = _settings()
    try:
        run_schedule(settings, _round_runner(settings))
    except PairloopError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="Only this project.")
def once(project_id: int | None) -> None:
    """Run one round now for each known project."""
    from preference.studio import LabelStudioProject

    settings = _settings()
    runner = _round_runner(settings)
    registries = [Registry(settings.model_dir, project_id)] if project_id else list(known_projects(settings.model_dir))
    if not registries:
        raise click.ClickException(
            f"No project is known in MODEL_DIR={settings.model_dir}; connect one, or name it with --project."
        )
    failed = False
    for registry in registries:
        try:
            ended = runner(LabelStudioProject(settings, registry.project_id, patience_seconds=30), registry)
        except PairloopError as error:
            raise click.ClickException(str(error)) from None
        version = f" {ended.version}" if ended.version else ""
        click.echo(f"project {registry.project_id}: {ended.outcome}{version}: {ended.reason}")
        failed = failed or ended.outcome == "failed"
    sys.exit(1 if failed else 0)


@main.command()
@click.option("--check", is_flag=True, help="Only say whether a trainer is running; the exit status tells.")
def status(check: bool) -> None:
    """Show each project's versions and whether the trainer is running."""
    from trainer.heartbeat import is_alive

    settings = _settings()
    alive = is_alive(settings.model_dir)
    click.echo(f"trainer: {'running' if alive else 'not running'} on {settings.model_dir}")
    if check:
        sys.exit(0 if alive else 1)
    for registry in known_projects(settings.model_dir):
        champion = registry.champion()
        click.echo(f"project {registry.project_id}: champion {champion or 'none yet'}")
        for version in registry.versions():
            try:
                card = registry.card(version)
            except PairloopError as error:
                click.echo(f"  {version}  broken: {error}")
                continue
            verdict = "promoted" if card.promoted else "kept back"
            click.echo(
                f"{'*' if version == champion else ' '} {version}  {card.recipe}, {card.num_train_pairs} pairs, {verdict}: {card.reason}"
            )


@main.command()
@_project_option
@click.argument("version")
def promote(project_id: int, version: str) -> None:
    """Serve VERSION, whatever the judge said of it; an older one is a rollback."""
    try:
        Registry(_settings().model_dir, project_id).promote(version)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project_id}: {version} is the champion; backends load it within a second")


def _round_runner(settings: Settings):  # type: ignore[no-untyped-def]
    import torch

    from preference.backbone import pick_device, quiet_transformers
    from preference.features import Extractors
    from trainer.retrain import retrain

    quiet_transformers()
    torch.set_num_threads(settings.num_torch_threads)
    try:
        device = pick_device(settings.device)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    extractors = Extractors(settings.model_dir, device)
    return lambda project, registry: retrain(project, registry, settings, extractors=extractors, device=device)


def _settings() -> Settings:
    try:
        settings = Settings.from_environ()
    except PairloopError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return settings


if __name__ == "__main__":
    main()
