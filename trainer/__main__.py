"""pairloop-trainer: retrains the reward model when there are new judgements, and promotes what is better."""

import sys
from functools import cache
from pathlib import Path
from typing import Literal

import click

from preference.errors import PairloopError, StudioUnreachable
from preference.logs import set_up_logging
from preference.registry import ModelCard, Registry, known_projects
from preference.settings import Settings

_project_option = click.option("--project", "project_id", type=click.IntRange(min=1), required=True, help="The project's id.")


@click.group()
def main() -> None:
    """Trains reward models from judgements. Settings come from the environment; see the README."""


@main.command()
def run() -> None:
    """Retrain on the schedule, on request and on enough new judgements, until stopped."""
    from trainer.rounds import RoundProcesses
    from trainer.schedule import run_schedule

    settings = _settings()
    rounds = RoundProcesses()
    try:
        run_schedule(settings, rounds, interrupt=rounds.interrupt)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="Only this project.")
@click.option("--json", "as_json", is_flag=True, help="Say how each round ended as a line of JSON.")
def once(project_id: int | None, as_json: bool) -> None:
    """Run one round now for each known project; one that was killed is taken up."""
    from preference.studio import LabelStudioProject
    from trainer.rounds import Round, run_here, write_outcome

    settings = _settings()
    registries = [Registry(settings.model_dir, project_id)] if project_id else list(known_projects(settings.model_dir))
    if not registries:
        raise click.ClickException(
            f"No project is known in MODEL_DIR={settings.model_dir}; connect one, or name it with --project."
        )
    runner = cache(_round_runner)  # loads torch, once there is a project that no other process is at
    failed = False
    for registry in registries:
        project = LabelStudioProject(settings, registry.project_id, patience_seconds=30)
        try:
            ended = run_here(registry, lambda: runner(settings)(project, registry))  # noqa: B023 - called before the next
        except PairloopError as error:
            raise click.ClickException(str(error)) from None
        failed = failed or (ended.outcome == "failed" if isinstance(ended, Round) else isinstance(ended, StudioUnreachable))
        click.echo(write_outcome(ended) if as_json else f"project {registry.project_id}: {ended}")
    sys.exit(1 if failed else 0)


@main.command()
@click.option("--check", is_flag=True, help="Only say whether a trainer is running; the exit status tells.")
def status(check: bool) -> None:
    """Show each project's versions and whether the trainer is running."""
    from preference.heartbeat import is_alive

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
            for entry in card.promotions:
                after = f" after {entry['before']}" if entry["before"] else ""
                why = f": {entry['reason']}" if entry.get("reason") else ""
                click.echo(f"    made champion {entry['at'][:16]} UTC by {entry['by']}{after}{why}")


@main.command()
@_project_option
@click.argument("version")
@click.option("--reason", default="", help="Why, for the log on its card.")
def promote(project_id: int, version: str, reason: str) -> None:
    """Serve VERSION, whatever the judge said of it."""
    try:
        Registry(_settings().model_dir, project_id).promote(version, by="hand", reason=reason)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project_id}: {version} is the champion; backends load it within a second")


@main.command()
@_project_option
@click.option("--reason", default="", help="Why, for the log on its card.")
def rollback(project_id: int, reason: str) -> None:
    """Serve the version that was champion before the present one; once more goes further back."""
    try:
        version = Registry(_settings().model_dir, project_id).rollback(reason=reason)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"project {project_id}: {version} is the champion again; backends load it within a second")


@main.command()
@_project_option
@click.argument("version", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
@click.option("--mark-suspects", is_flag=True, help="Also mark the tasks of its most suspect labels in Label Studio, as meta.")
def report(project_id: int, version: str | None, as_json: bool, mark_suspects: bool) -> None:
    """Show the figures of VERSION; without it, of the champion, or of the latest where there is none."""
    import dataclasses
    import json

    from trainer.tables import print_card

    settings = _settings()
    registry = Registry(settings.model_dir, project_id)
    try:
        version = version or registry.champion() or next(reversed(registry.versions()), None)
        if version is None:
            raise click.ClickException(f"Project {project_id} has no version yet; `pairloop-trainer once` trains one.")
        card = registry.card(version)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(card), indent=1, ensure_ascii=False))
    else:
        print_card(card)
    if mark_suspects:
        _mark_suspects(settings, registry, card)


@main.command()
@_project_option
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["trl", "dpo", "sft", "csv"]),
    default="trl",
    show_default=True,
    help="Pairs for TRL's RewardTrainer (trl) or DPOTrainer (dpo), written answers for its SFTTrainer (sft), or everything (csv).",
)
@click.option(
    "--out", "path", type=click.Path(path_type=Path), required=True, help="The file: .jsonl, .parquet, or .csv for csv."
)
@click.option("--conversational", is_flag=True, help="Texts as lists of messages, for models with a chat template.")
def export(project_id: int, format_name: Literal["trl", "dpo", "sft", "csv"], path: Path, conversational: bool) -> None:
    """Write the judgements to a file that other trainers take."""
    from preference.layout import LabelingLayout
    from preference.studio import LabelStudioProject
    from trainer.export import check_path, export_judgements

    settings = _settings()
    project = LabelStudioProject(settings, project_id, patience_seconds=30)
    try:
        check_path(path, format_name=format_name, conversational=conversational)
        written = export_judgements(
            project.annotated_tasks(),
            path,
            format_name=format_name,
            conversational=conversational,
            layout=LabelingLayout.from_label_config(project.read()["label_config"]),
            holdout_fraction=settings.holdout_fraction,
            prefer_ground_truth=settings.prefer_ground_truth,
        )
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    rows = f"{written.num_train} rows to train on and {written.num_holdout} held out"
    left_out = ", ".join(f"{count} {reason}" for reason, count in written.left_out.most_common()) or "nothing"
    click.echo(f"project {project_id}: {rows} are in {path}; left out: {left_out}")


def _mark_suspects(settings: Settings, registry: Registry, card: ModelCard) -> None:
    from preference.studio import LabelStudioProject
    from trainer.rounds import cards
    from trainer.suspects import mark_suspects

    marked_before = {suspect["task"] for other in cards(registry) for suspect in other.report.get("suspects") or []}
    project = LabelStudioProject(settings, registry.project_id, patience_seconds=30)
    try:
        counts = mark_suspects(
            project, card.report.get("suspects") or [], version=card.version, marked_before=marked_before - {None}
        )
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    said = ", ".join(f"{count} {what}" for what, count in counts.items()) or "no suspect labels"
    click.echo(f"project {registry.project_id}: {said} (task meta pairloop_suspect)", err=True)


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
    set_up_logging(settings)
    return settings


if __name__ == "__main__":
    main()
