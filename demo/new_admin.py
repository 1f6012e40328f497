"""`python -m demo.new_admin`: a new admin's first minutes, from an empty folder to filled tasks in one command, and their picture.

A real Label Studio starts on a database that is migrated and holds nothing. What the README says is typed into a real terminal,
with every setting at its default but the two that it names, and what the terminal shows becomes docs/pictures/new-admin.svg,
without this machine's ports and token.
"""

import csv
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import click
import pexpect
import psutil
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from demo.process import StackError
from demo.stack import PROGRAMS, REPOSITORY, Stack, free_port
from preference.errors import PairloopError
from preference.labelling.label_config import LabelingLayout
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject

PICTURE = REPOSITORY / "docs" / "pictures" / "new-admin.svg"
TITLE = "My preferences"
PROMPTS = (
    "How do I keep bread fresh for longer?",
    "Explain to a child why the sea is salty.",
    "Write a short, friendly reminder that the rent is due on Monday.",
    "What should I look at when I buy a used bicycle?",
    "Give me three names for a small bakery by the harbour.",
    "How can I fall asleep more easily after a long day at a screen?",
    "Summarise in two sentences what a mortgage is.",
    "My neighbour's dog barks every night. What can I say to them?",
    "Which vegetables can I plant in October?",
    "Write the first line of a detective story that is set in a library.",
    "What is the difference between weather and climate?",
    "Suggest a dinner for four with rice, spinach and eggs.",
)
_COLUMNS, _ROWS = 100, 60
_SHELL_PROMPT = "\x1b[1;32m$\x1b[0;1m "  # which nothing else prints; what is typed after it is bold
_COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow", "bfightmagenta": "bright_magenta"}  # pyte 0.8's names, rich's


@dataclass(frozen=True)
class FirstRun:
    """What a new admin sees and has. The README's addresses take the place of this run's, and three dots that of the token."""

    seconds: float  # from Label Studio's start until the last command had ended
    exit_status: int  # of that command
    terminal: str  # all that the terminal was sent
    answers: Sequence[tuple[str | None, ...]]  # to each prompt that Label Studio holds

    @property
    def is_filled(self) -> bool:
        """Whether each prompt has two different answers."""
        different = [first and second and first != second for first, second in self.answers]
        return self.exit_status == 0 and len(different) == len(PROMPTS) and all(different)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen at the end."""
        return [line.plain for line in _lines(self.terminal)]


def main() -> None:
    """Makes the picture; the exit status is 0 only if every task was filled."""
    try:
        with tempfile.TemporaryDirectory(prefix="pairloop-new-admin-") as folder:
            run = first_run(Path(folder), settings={})
    except PairloopError as error:
        sys.exit(str(error))
    click.echo("\n".join(run.lines))
    if not run.is_filled:
        sys.exit("Not every prompt has two different answers.")
    PICTURE.write_text(picture(run), encoding="utf-8")
    click.echo(f"{len(run.answers)} tasks are filled, {run.seconds:.0f} s after Label Studio was started; see {PICTURE}.")


def first_run(folder: Path, *, settings: Mapping[str, str]) -> FirstRun:
    """One run in `folder`, which is empty. `settings`: variables that the admin's terminal has, over the defaults.

    Raises:
        StackError: Label Studio does not start, or a command does not end.
    """
    with Stack(folder / "stack", label_studio_port=free_port(), backend_port=free_port(), settings={}) as stack:
        began = time.monotonic()
        stack.start_label_studio()
        (folder / "work").mkdir()
        with (folder / "work" / "prompts.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["prompt"], *([prompt] for prompt in PROMPTS)])
        with _Terminal(folder / "work", {"PORT": stack.environ["PORT"], **settings}) as terminal:
            terminal.type("head -4 prompts.csv")
            terminal.type(f"export LABEL_STUDIO_URL={stack.url}")
            terminal.type(f"export LABEL_STUDIO_API_KEY={stack.token}")
            terminal.type("pairloop-backend serve > backend.log 2>&1 &")
            terminal.type("pairloop-trainer run > trainer.log 2>&1 &")
            terminal.type(f'pairloop-backend connect --new "{TITLE}" --prompts prompts.csv', timeout_seconds=400)
            seconds, output = time.monotonic() - began, terminal.output
            exit_status = int(re.findall(r"(\d+)\r\n", terminal.type("echo $?"))[-1])
        for own, known in (
            (stack.url, "http://localhost:8080"), (stack.backend_url, "http://localhost:9090"), (stack.token, "..."),
        ):  # fmt: skip
            output = output.replace(own, known)
        return FirstRun(seconds, exit_status, output, _answers(Settings.from_environ(stack.environ)))


def picture(run: FirstRun) -> str:
    """What stands on the screen at the end, as SVG that loads nothing."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    for line in _lines(run.terminal):
        console.print(line, soft_wrap=True)
    drawn = console.export_svg(title="From an empty folder to filled tasks", unique_id="new-admin")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


class _Terminal:
    """A bash in a terminal, which ends with all that it started."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._recorded = io.StringIO()
        plain = {name: value for name, value in os.environ.items() if name in ("TZ", "TMPDIR")}
        self._bash: Any = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile"],
            cwd=str(folder),
            env={
                **plain,
                "LANG": "C.UTF-8",  # else the bar is of another look
                "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
                "HOME": str(folder.parent),
                "HISTFILE": "",
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                "PS1": r"\[\e[1;32m\]$\[\e[0;1m\] ",
                "PS0": r"\e[0m",
                "HF_HUB_OFFLINE": "1",
                **environ,
            },
            dimensions=(_ROWS, _COLUMNS),
            encoding="utf-8",
            codec_errors="replace",
        )
        self._bash.logfile_read = self._recorded

    def type(self, line: str, *, timeout_seconds: float = 30) -> str:
        """Types the line, and waits for its end; what the terminal was sent meanwhile."""
        self._bash.sendline(line)
        return self._wait(timeout_seconds)

    @property
    def output(self) -> str:
        """All that the terminal was sent, up to the last prompt."""
        return self._recorded.getvalue().removesuffix(_SHELL_PROMPT)

    def __enter__(self) -> Self:
        self._wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        bash = psutil.Process(self._bash.pid)
        jobs, all_of_them = bash.children(), bash.children(recursive=True)
        for job in jobs:
            with suppress(psutil.NoSuchProcess):
                job.terminate()
        for process in psutil.wait_procs(all_of_them, timeout=40)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._bash.close(force=True)

    def _wait(self, timeout_seconds: float) -> str:
        try:
            self._bash.expect_exact(_SHELL_PROMPT, timeout=timeout_seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            last = "\n".join(line.plain for line in _lines(self.output)[-15:])
            raise StackError(
                f"Waited {timeout_seconds:.0f} s in vain for a command's end; the end of the terminal:\n{last}"
            ) from None
        return str(self._bash.before)


def _answers(settings: Settings) -> Sequence[tuple[str | None, ...]]:
    (project_id,) = Account(settings.studio).projects_titled(TITLE)
    project = LabelStudioProject(settings.studio, project_id)
    layout = LabelingLayout.from_label_config(project.read()["label_config"])
    return [layout.answers(task["data"]) for task in project.all_tasks()]


def _lines(terminal: str) -> list[Text]:
    """The lines on the screen of a terminal that was sent this."""
    screen = pyte.Screen(_COLUMNS, _ROWS)
    pyte.Stream(screen).feed(terminal)
    lines = []
    for row in range(_ROWS):
        line, characters = Text(), [screen.buffer[row][column] for column in range(_COLUMNS)]
        for (colour, bold), alike in groupby(characters, key=lambda of: (of.fg, of.bold)):
            line.append("".join(of.data for of in alike), Style(color=_colour(colour), bold=bold or None))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def _colour(name: str) -> str | None:
    """Rich's name of a colour that pyte names; None is the default."""
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return None if name == "default" else _COLOURS.get(name, re.sub(r"^bright", "bright_", name))


if __name__ == "__main__":
    main()
