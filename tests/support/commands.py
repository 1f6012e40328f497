"""Both programs, and how their output is read."""

from collections.abc import Callable

import click
from click.testing import Result

import backend.__main__
import trainer.__main__
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions

PROGRAMS: dict[str, click.Group] = {"pairloop-backend": backend.__main__.main, "pairloop-trainer": trainer.__main__.main}
SHARED = ("status", "train", "versions", "generators", "promote", "rollback", "score")
Invoke = Callable[..., Result]


def rows(result: Result) -> list[dict[str, str]]:
    """What a program reads from a table in a pipe."""
    assert result.exit_code == 0, result.output
    header, *lines = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    return [dict(zip(header, cells, strict=True)) for cells in lines]


def made_at(folder: ProjectFolder, version: str) -> str:
    return str(Versions(folder).card(version).promotions[-1].at)[:16].replace("T", " ")
