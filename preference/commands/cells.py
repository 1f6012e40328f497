"""A table of text, and how a figure stands in its cells. What is not known is an empty cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from preference.report_card.figures import Comparison
from preference.report_card.shares import Median, Share, ShareDifference


@dataclass(frozen=True)
class Section:
    """One table, which has no column that would be empty."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def without_empty_columns(section: Section) -> Section:
    """The same, of which each column but the first says something."""
    keep = [i for i in range(len(section.header)) if i == 0 or any(row[i] for row in section.rows)]
    return Section(section.title, _pick(section.header, keep), [_pick(row, keep) for row in section.rows])


def plain(value: object) -> str:
    """A value as it is; empty if it is not known."""
    return "" if value is None else str(value)


def number(value: float | None, form: str = ".3f") -> str:
    """A number; empty if it is not known."""
    return "" if value is None else format(value, form)


def share(known: Share | Median | None, form: str = ".3f") -> str:
    """ "0.750 (95 % interval 0.598 to 0.858)", without what is not known."""
    if known is None or known.value is None:
        return ""
    return f"{known.value:{form}}" + (f" (95 % interval {between(known.interval, form)})" if known.interval else "")


def counted(known: Share | Median | None, form: str = ".3f") -> str:
    """The same, and of how many."""
    text = share(known, form)
    return f"{text[:-1]}, of {known.count})" if text.endswith(")") and known and known.count is not None else text


def moved(moves: ShareDifference | None) -> str:
    """A difference of shares with its interval; empty if it is not known."""
    if moves is None or moves.value is None:
        return ""
    return f"{moves.value:+.3f}" + (f" (95 % interval {between(moves.interval, '+.3f')})" if moves.interval else "")


def gain(figures: Comparison) -> str:
    """What this version has more than another, with interval and p; empty if it is not known."""
    if figures.gain is None:
        return ""
    interval = between(figures.gain_interval, "+.3f") if figures.gain_interval else ""
    p = figures.p_better if figures.gain >= 0 else figures.p_worse
    known = [*filter(None, [interval, "" if p is None else f"p {p:.2g}"])]
    return f"{figures.gain:+.3f}" + (f" ({', '.join(known)})" if known else "")


def between(ends: tuple[float, float], form: str) -> str:
    """An interval without its brackets."""
    return f"{ends[0]:{form}} to {ends[1]:{form}}"


def _pick(cells: Sequence[str], keep: Sequence[int]) -> tuple[str, ...]:
    return tuple(cells[i] for i in keep)
