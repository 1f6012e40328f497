"""What `status`, `versions` and `train` print. Imported by them alone: other commands need not know how a project stands."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import click

from preference.commands.command_line import refusals
from preference.commands.generator_rows import GENERATOR_HEADER, GeneratorSummary, generator_row, read_generator_summaries
from preference.commands.status_rows import (
    PROJECT_HEADER,
    VERSION_HEADER,
    alignments_in_words,
    forecast,
    project_row,
    project_values,
    version_row,
)
from preference.commands.version_summary import VersionSummary, read_version_summaries
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.problems import read_problems
from preference.projects.status import ProjectStatus, TrainerStatus, moment, read_project_status, read_trainer_status
from preference.settings import Settings


def list_status(settings: Settings, project_id: int | None, *, check: bool, as_json: bool) -> None:
    """Prints whether a trainer runs and how each project stands; with `check`, exits with 0 if a trainer runs, else 1."""
    trainer = _trainer(settings)
    if check:
        if as_json:
            _print_json({"trainer": _trainer_values(trainer, settings)})
        else:
            _say_whether_running(trainer, settings)
        sys.exit(0 if trainer.is_running else 1)
    with refusals():
        noted = read_problems(settings.model_dir)
        projects = [_status(folder, trainer, noted.get(folder.project_id, ())) for folder in _folders(settings, project_id)]
    if as_json:
        _print_json({"trainer": _trainer_values(trainer, settings), "projects": [project_values(status) for status in projects]})
        return
    _say_whether_running(trainer, settings)
    if alignments := alignments_in_words(trainer):
        click.echo(alignments)
    if not projects:
        click.echo("no project is known; `pairloop-backend connect --project ID` connects one")
        return
    _print_table(PROJECT_HEADER, [project_row(status) for status in projects], num_notes=5)


def list_versions(settings: Settings, project_id: int | None, *, as_json: bool) -> None:
    """Prints each version; one that cannot be read is an error at the end."""
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
    summaries: list[VersionSummary] = []
    problems: list[str] = []
    for folder in folders:
        with _gathered(problems):
            summaries += list(read_version_summaries(folder))
    if as_json:
        _print_json([asdict(version) for version in summaries])
    elif summaries or not problems:
        _print_table(VERSION_HEADER, [version_row(version) for version in summaries], num_notes=2)
    if problems:
        raise click.ClickException("\n".join(problems))


def list_generators(settings: Settings, project_id: int | None, *, as_json: bool) -> None:
    """Prints each generator version, and what people say in duels; one that cannot be read is an error at the end."""
    from preference.duels.figures import read_duels
    from preference.duels.on_trial import on_trial, what_people_say

    with refusals():
        folders = _some(_folders(settings, project_id), settings)
    summaries: list[GeneratorSummary] = []
    problems: list[str] = []
    said: list[str] = []
    for folder in folders:
        with _gathered(problems):
            summaries += list(read_generator_summaries(folder))
            duels = read_duels(folder.path)
            said += [f"project {folder.project_id}: {line}" for line in what_people_say(on_trial(folder, duels), duels)]
    if as_json:
        _print_json([asdict(version) for version in summaries])
    elif summaries:
        _print_table(GENERATOR_HEADER, [generator_row(version) for version in summaries], num_notes=2)
    elif not problems:
        click.echo("no generator has learnt yet; `pairloop-trainer align --project ID` lets one learn from the judgements")
    for line in said if not as_json else ():
        click.echo(line)
    if problems:
        raise click.ClickException("\n".join(problems))


def list_next_rounds(settings: Settings, project_id: int | None, *, asks_for_one: bool) -> None:
    """Prints when the next rounds begin, or asks for one of each project."""
    with refusals():
        folders = _some(_folders(settings, project_id), settings)
        trainer = _trainer(settings)
    only = "" if project_id is None else f" --project {project_id}"
    advice = f"start `pairloop-trainer run`, or train right here: `pairloop-trainer once{only}`"
    if asks_for_one:
        problems: list[str] = []
        with refusals():
            when = _when_taken(trainer, settings)
            noted = read_problems(settings.model_dir, of=["trainer"]) if trainer.is_running else {}
        for folder in folders:
            with _gathered(problems):
                asked, hindrances = _ask_for_round(folder), noted.get(folder.project_id, [])
                click.echo(f"project {folder.project_id}: a round {asked}{'' if hindrances else when}")
                problems += [f"Project {folder.project_id}: the trainer cannot take that yet: {why}" for why in hindrances]
        if not trainer.is_running and len(problems) < len(folders):
            problems.append(f"No trainer is running on MODEL_DIR={settings.model_dir}, so that waits; {advice}.")
        if problems:
            raise click.ClickException("\n".join(problems))
        return
    _say_whether_running(trainer, settings)
    for folder in folders:
        click.echo(f"project {folder.project_id}: {forecast(read_project_status(folder, trainer))}")
    click.echo(f"`pairloop-trainer train --now{only}` asks for a round now" if trainer.is_running else advice)


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
    """The trainer's status. If none is running, it holds the schedule and the number of judgements that these settings ask for."""
    trainer = read_trainer_status(settings.model_dir)
    num_needed = trainer.num_needed if trainer.is_running else None
    num_needed = settings.training.min_new_pairs if num_needed is None else num_needed
    schedule, align_schedule = settings.training.train_schedule, settings.training.align_schedule
    if trainer.is_running and trainer.schedule:
        schedule, align_schedule = trainer.schedule, trainer.align_schedule
    return replace(trainer, schedule=schedule, num_needed=num_needed, align_schedule=align_schedule or "")


def _trainer_values(trainer: TrainerStatus, settings: Settings) -> dict[str, Any]:
    return {
        "is_running": trainer.is_running,
        "model_dir": str(settings.model_dir.absolute()),
        "schedule": trainer.schedule,
        "next_round_at": moment(trainer.next_round_at),
        "num_needed": trainer.num_needed,
        "align_schedule": trainer.align_schedule,
        "next_alignment_at": moment(trainer.next_alignment_at),
    }


def _status(folder: ProjectFolder, trainer: TrainerStatus, noted: Sequence[str]) -> ProjectStatus:
    status = read_project_status(folder, trainer, noted=noted).with_versions()
    if not folder.is_disconnected:
        return status
    disconnected = f"it is disconnected; pairloop-backend connect --project {folder.project_id} connects it again"
    return replace(status, problems=(*status.problems, disconnected))


def _say_whether_running(trainer: TrainerStatus, settings: Settings) -> None:
    click.echo(f"trainer: {'running' if trainer.is_running else 'not running'} on {settings.model_dir.absolute()}")


def _ask_for_round(folder: ProjectFolder) -> str:
    """Asks for a round of a project. Returns whether it was asked for before, in words.

    Not limited as requests by web are: who may run a command here may train as often as they like.
    """
    if folder.is_disconnected:
        raise RegistryError(
            f"Project {folder.project_id} is disconnected, so no trainer looks after it; "
            f"`pairloop-backend connect --project {folder.project_id}` connects it again."
        )
    asked = "was asked for already" if folder.is_requested("train") else "is asked for"
    folder.request("train")
    return asked


def _when_taken(trainer: TrainerStatus, settings: Settings) -> str:
    """When the trainer takes what is asked of it, as the end of a sentence."""
    if not trainer.is_running:
        return ""
    known = [read_project_status(folder, trainer) for folder in known_projects(settings.model_dir)]
    training = next((status.project_id for status in known if status.training_since is not None), None)
    when = f"within {settings.training.look_every_seconds:g} s" if training is None else f"after the round of project {training}"
    return f"; the trainer takes that {when}"


@contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Keeps the sentence of a refusal for the end: what fails one project must not stop the others."""
    try:
        with refusals():
            yield
    except click.ClickException as error:
        problems.append(error.message)


def _print_table(header: Sequence[str], rows: list[list[str]], *, num_notes: int) -> None:
    from preference.commands.tables import print_table  # rich takes longer than a health check

    print_table(header, rows, num_notes=num_notes)


def _print_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=1, default=datetime.isoformat))
