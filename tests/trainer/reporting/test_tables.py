from io import StringIO

import pytest
from rich.console import Console

from preference.commands.tables import one_line, print_sentence, print_table

HEADER, ROWS = ("name", "count", "says"), [["a first row", "12", "word " * 20 + "end"], ["second", "5", ""]]


def printed(width: int, **changes: object) -> list[str]:
    """What a terminal of that width shows."""
    console = Console(file=StringIO(), force_terminal=True, width=width, record=True)
    print_table(HEADER, ROWS, console=console, **changes)  # type: ignore[arg-type]
    return [line.rstrip() for line in console.export_text().splitlines()]


def piped(*arguments: object, **changes: object) -> list[str]:
    """The lines in a pipe."""
    console = Console(file=StringIO(), width=20)
    print_table(*arguments, console=console, **changes)  # type: ignore[arg-type]
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("num_notes", [0, 1])
def test_in_a_pipe_a_row_is_a_line_whose_cells_a_tab_parts(num_notes: int) -> None:
    lines = piped(HEADER, ROWS, num_notes=num_notes, title="Rows")

    assert lines == ["Rows", "name\tcount\tsays", f"a first row\t12\t{'word ' * 20}end", "second\t5\t-"]


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", " a \r\n b ", "a\x1bb", "a\ud800b", "a\u202eb", "a\u2028b"])
def test_no_cell_breaks_its_line_or_moves_the_cursor(cell: str) -> None:
    assert one_line(cell) == "a b"
    assert piped(["x"], [[cell]]) == ["x", "a b"]


def test_what_people_write_stays_as_it_is() -> None:
    assert one_line("Größe: [bold]5[/bold] 日本語 :smile: 👍") == "Größe: [bold]5[/bold] 日本語 :smile: 👍"
    assert piped(["x"], [["[bold]5"]]) == ["x", "[bold]5"]
    assert "[red]" in printed_cell("[red]") and ":smile:" in printed_cell(":smile:")


def printed_cell(cell: str) -> str:
    console = Console(file=StringIO(), force_terminal=True, width=40, record=True)
    print_table(["x", "note"], [["1", cell]], num_notes=1, console=console)
    return console.export_text()


@pytest.mark.parametrize("width", [40, 80])
def test_on_a_terminal_notes_stand_below_their_row_and_an_empty_one_is_left_out(width: int) -> None:
    lines = printed(width, num_notes=1)

    assert lines[0] == "name         count"
    assert set(lines[1]) == {"─"}
    assert lines[2] == "a first row     12"
    assert lines[-1] == "second           5"
    notes = lines[3:-1]
    assert notes[0].startswith("    says  word") and all(line.startswith("          ") for line in notes[1:])
    assert " ".join(" ".join(notes).split()) == f"says {'word ' * 20}end"
    assert all(len(line) <= width for line in lines)


def test_a_narrow_terminal_folds_between_words_and_breaks_none() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=34, record=True)
    print_table(
        ["version", "accuracy", "reason"], [["v1-20261119-030012", "0.702 (0.622 to 0.772)", "ok"]], num_notes=1, console=console
    )

    text = console.export_text()
    assert [line.split() for line in text.splitlines()[2:4]] == [["v1-20261119-030012", "0.702", "(0.622"], ["to", "0.772)"]]


def test_a_terminal_that_is_too_narrow_for_any_word_still_shows_all_of_them() -> None:
    lines = printed(12, num_notes=1)

    assert "".join("".join(lines).split()).count("word") == 20
    assert all(len(line) <= 12 for line in lines)


def test_a_sentence_is_one_line_in_a_pipe_and_folds_on_a_terminal() -> None:
    pipe, terminal = Console(file=StringIO(), width=20), Console(file=StringIO(), force_terminal=True, width=20)
    for console in (pipe, terminal):
        print_sentence("word " * 10, console)

    assert isinstance(pipe.file, StringIO) and isinstance(terminal.file, StringIO)
    assert pipe.file.getvalue() == ("word " * 10).strip() + "\n"
    assert terminal.file.getvalue().count("\n") == 3
