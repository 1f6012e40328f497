import io

import pytest
from rich.console import Console

from backend.commands.progress_bar import bar
from tests.support.studio_double import wait_until


def printed(done: int, total: int, *, answers_per_second: float) -> str:
    """What a bar prints if it cannot be live."""
    console = Console(file=io.StringIO(), width=120)
    with bar("tasks answered", console) as show:
        show(0, total, answers_per_second=1)
        show(done, total, answers_per_second=answers_per_second)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_shows_tasks_answers_a_second_and_the_time_left() -> None:
    text = printed(25, 100, answers_per_second=3.04)

    assert text.startswith("tasks answered ")
    assert " 25/100 3.0 answers/s, 49 s to go 0:00:0" in text  # 75 tasks, two answers each


@pytest.mark.parametrize(
    ("num_left", "answers_per_second", "span"),
    [
        (0, 2, "0 s"), (1, 20, "0 s"), (89, 2, "89 s"), (90, 2, "2 min"), (90 * 60, 2, "1 h 30 min"), (10_000, 0.5, "11 h"),
    ],
)  # fmt: skip
def test_a_time_is_shown_in_seconds_minutes_or_hours(num_left: int, answers_per_second: float, span: str) -> None:
    assert f" answers/s, {span} to go " in printed(7, 7 + num_left, answers_per_second=answers_per_second)


def test_before_the_first_answer_no_time_is_shown() -> None:
    text = printed(3, 10, answers_per_second=0)

    assert " 3/10 waiting for the first answers 0:00:0" in text and "to go" not in text
    assert " 10/10 0:00:0" in printed(10, 10, answers_per_second=0)


def test_a_bar_without_any_state_still_ends() -> None:
    console = Console(file=io.StringIO(), width=120)

    with bar("tasks answered", console):
        pass

    assert isinstance(console.file, io.StringIO) and "0/?" in console.file.getvalue()


def test_on_what_is_no_terminal_the_last_state_is_printed_once_and_without_control_codes() -> None:
    console = Console(file=io.StringIO(), width=120)

    with bar("prompts imported", console) as show:
        for done in range(11):
            show(done, 10, answers_per_second=1)
        assert isinstance(console.file, io.StringIO) and console.file.getvalue() == ""

    text = console.file.getvalue()
    assert [line for line in text.splitlines() if line.strip()] == text.splitlines()[:1]
    assert "10/10" in text and "\x1b" not in text


def test_on_a_terminal_it_is_live() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, _environ={"TERM": "xterm"})
    assert isinstance(console.file, io.StringIO)
    text = console.file

    with bar("prompts imported", console) as show:
        for done in (3, 6):
            show(done, 10, answers_per_second=1)
            wait_until(lambda done=done: f"{done}/10" in text.getvalue())  # type: ignore[misc]

    assert "\x1b[2K" in text.getvalue(), "a line takes the place of the one before"
