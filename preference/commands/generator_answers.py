"""What `generators --answers` prints: the answers that a version and the one beside it wrote for their judge, prompt by prompt."""

import json
import unicodedata
from dataclasses import asdict

import click

from preference.commands.command_line import refusals
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.report_card.compared_answers import read_compared
from preference.settings import Settings


def show_answers(settings: Settings, project_id: int, version: str, *, as_json: bool) -> None:
    """Prints them; an unknown version, or one without answers, is an error."""
    with refusals():
        generators = Generators(ProjectFolder(settings.model_dir, project_id))
        version = generators.find(version)
        rows = read_compared(generators.path(version))
        if not rows:
            raise RegistryError(f"{version} kept no answers: it was published by an earlier build, or only its card is kept.")
        other = generators.card(version).compared_with
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for row in rows:
        click.echo(f"--- {_shown(row.prompt)}\n")
        for name, answers in ((version, row.new), (other, row.other)):
            for answer in answers:
                click.echo(f"{name}:\n{_shown(answer)}\n")


def _shown(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs"))
