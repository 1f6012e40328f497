"""What each command of both programs begins and ends with: options, settings, refusals, and how to start a program."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from preference.errors import PairloopError
from preference.logs import set_up_logging
from preference.settings import Settings

PROJECT = click.option(
    "--project", "project_id", metavar="ID", type=click.IntRange(min=1), required=True, help="The id in the project's address."
)
ONLY_PROJECT = click.option(
    "--project", "project_id", metavar="ID", type=click.IntRange(min=1), help="Only this project: the id in its address."
)


def keep_light() -> None:
    """Keeps httpx from importing a command line of its own, with rich and pygments: a tenth of what a command takes.

    httpx does without it if it cannot be imported. To be called before anything imports httpx.
    This process, and each that is forked from it, also ends without a last look for garbage, which takes two seconds after torch
    was imported.
    """
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    atexit.register(gc.freeze)


def program_command(program: str) -> list[str]:
    """What starts `backend` or `trainer` as a process of its own, whatever lies in the folder that this is run in."""
    # -m looks there first, and would run a file named trainer.py; that is right if this was started by -m itself.
    flags = [] if sys.path[0] in ("", str(Path.cwd())) else ["-P"]
    return [sys.executable, *flags, "-m", program]


def read_settings() -> Settings:
    """The settings; if a variable is wrong, the process prints why and ends with status 2."""
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
    """Turns an error of reading or writing MODEL_DIR into the one sentence that the command ends with."""
    try:
        yield
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        if error.filename is None:  # no file: the program that reads our output has ended
            raise
        raise click.ClickException(f"{error.filename} cannot be read ({error.strerror}); fix or remove it.") from None
