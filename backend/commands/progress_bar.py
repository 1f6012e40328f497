"""The live bar of `pairloop-backend fill` and `import`: tasks, answers a second, time to go."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from preference.formatting import duration


class Show(Protocol):
    """Shows a state."""

    def __call__(self, done: int, total: int, *, answers_per_second: float) -> None:
        """`done` of `total` tasks, which take two answers each."""
        ...


@contextmanager
def bar(what: str, console: Console) -> Iterator[Show]:
    """A bar for the time of the `with`. If the console is no terminal, only its last state is printed."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=None, pace="")

        def show(done: int, total: int, *, answers_per_second: float) -> None:
            if answers_per_second:
                pace = f"{answers_per_second:.1f} answers/s, {duration(2 * (total - done) / answers_per_second)} to go"
            else:  # loading a model takes a while, and longer for the first time
                pace = "waiting for the first answers" if done < total else ""
            progress.update(task, completed=done, total=total, pace=pace)

        yield show
