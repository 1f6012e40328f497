"""Tables that commands print: folded on a terminal; in a pipe a line a row, its cells parted by tabs, for grep, awk and column."""

from collections.abc import Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

_GAP = 2


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    num_notes: int = 0,
    console: Console | None = None,
) -> None:
    """Prints rows below a header.

    The last `num_notes` columns are texts of any length: on a terminal they stand below their row, each with its header.
    In a pipe nothing is cut, folded or coloured, and an empty cell is "-".
    """
    console = console or Console(highlight=False)
    rows = [[one_line(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        lines = ["\t".join(cell or "-" for cell in cells) for cells in (header, *rows)]
        for line in [title, *lines] if title else lines:
            click.echo(line, file=console.file)  # rich would put spaces for tabs
        return
    if num_notes:
        table = _noted(header, rows, num_notes, console.width)
    else:
        table = Table(*_columns(header, rows), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
    if title:
        console.print(Text(title, "bold"))
    console.print(table)


def print_sentence(text: str, console: Console) -> None:
    """Prints a text on lines of its own; in a pipe it is one line, however long."""
    console.print(Text(one_line(text)), soft_wrap=not console.is_terminal)


def one_line(text: str) -> str:
    """The text without what would break a line, move a cursor or be no UTF-8."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())


def _noted(header: Sequence[str], rows: Sequence[Sequence[str]], num_notes: int, width: int) -> Table:
    """A table of one column: a row's cells, and below them its notes."""
    num_cells = len(header) - num_notes
    columns = _columns(header[:num_cells], rows)
    for column, wide in zip(columns, _widths([[*header[:num_cells]], *(row[:num_cells] for row in rows)], width), strict=True):
        column.width = wide
    table = Table(Column(_grid(columns, header[:num_cells], style="bold")), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    labels = Column(width=max(map(cell_len, header[num_cells:])), style="dim")
    for row in rows:
        notes = [pair for pair in zip(header[num_cells:], row[num_cells:], strict=True) if pair[1]]
        below = [Padding(_grid([labels, Column(overflow="fold")], pair), (0, 0, 0, 4)) for pair in notes]
        table.add_row(Group(_grid(columns, row[:num_cells]), *below))
    return table


def _grid(columns: Sequence[Column], cells: Sequence[str], *, style: str = "") -> Table:
    """One row. Each has its own grid, so a column's width is given, not computed."""
    grid = Table.grid(*(Column(width=c.width, justify=c.justify, overflow=c.overflow, style=c.style) for c in columns))
    grid.padding = (0, _GAP, 0, 0)
    grid.add_row(*(Text(cell, style) for cell in cells))
    return grid


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Column]:
    """A column for each name; numbers stand below one another."""
    numeric = [all(row[i].isdigit() for row in rows if row[i]) for i in range(len(header))]
    return [
        Column(Text(name), overflow="fold", justify="right" if is_number else "left")
        for name, is_number in zip(header, numeric, strict=True)
    ]


def _widths(rows: Sequence[Sequence[str]], most: int) -> list[int]:
    """How wide each column is: as its cells are, narrower if all are wider than the terminal, but no word is broken for that."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, cells)) for cells in columns]
    least = [max((cell_len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    while sum(widths) + _GAP * (len(widths) - 1) > most:
        spare, widest = max((wide - few > 0 and wide, i) for i, (wide, few) in enumerate(zip(widths, least, strict=True)))
        if not spare:
            break
        widths[widest] -= 1
    return widths
