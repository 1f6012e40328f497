"""The SVG elements of a chart, and from values to places in it.

Places across are shares of the width, places down are pixels, and sizes of letters and lines are CSS pixels: so a chart is as
crisp and as readable on a phone as on a wide screen. Colours are classes, which follow light and dark.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

HEIGHT = 230
TOP, BOTTOM = 16, 196  # pixels, of the highest and the lowest value
LEFT, RIGHT = 11.0, 96.0  # per cent, of the first and the last
Scale = Callable[[float | None], float]


@dataclass(frozen=True)
class SvgElement:
    """One SVG element. Lines and shapes of many points lie in a box of 100 by HEIGHT that is stretched; all else is placed in it."""

    tag: str
    attributes: dict[str, Any]
    text: str = ""


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """From values to places; the middle if there is one value only."""

    def place(value: float | None) -> float:
        part = 0.5 if high <= low else (min(max(value if value is not None else low, low), high) - low) / (high - low)
        return round(start + part * (end - start), 2)

    return place


def steps(count: int) -> Callable[[int], float]:
    """Places across for so many versions, the first one 0."""
    return lambda place: round(LEFT + 2 + (RIGHT - LEFT - 4) * (0.5 if count == 1 else place / (count - 1)), 2)


def accuracy_axis(values: Iterable[float | None]) -> tuple[Scale, list[float]]:
    """Holds all values, and .5 to .9 at least, between whole tenths; and two to six of those."""
    known = [value for value in values if value is not None]
    low, high = math.floor(10 * min([0.5, *known]) + 1e-9), math.ceil(10 * max([0.9, *known]) - 1e-9)
    return scale(low / 10, high / 10, BOTTOM, TOP), [tenth / 10 for tenth in range(low, high + 1, 1 if high - low <= 5 else 2)]


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two."""
    span = max(high - low, 1e-9) if high != low else 1.0
    step = 10 ** math.floor(math.log10(span))
    step = next((step * part for part in (0.2, 0.5, 1) if span / (step * part) <= 5), step)
    return [round(count * step, 12) + 0.0 for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def length_ticks(low: int, high: int) -> list[int]:
    """Lengths that stand apart on a logarithmic scale: three to seven round ones, if there are as many."""
    if high < 8 * low:
        return sorted({round(tick) for tick in nice_ticks(low, high)} or {low})
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1, 2, 5), (1, 3), (1,)):
        ticks = [part * 10**decade for decade in decades for part in parts if low <= part * 10**decade <= high]
        if len(ticks) <= 7:
            break
    return ticks[:: math.ceil(len(ticks) / 7)]


def gridlines(y: Scale, ticks: Sequence[float], *, form: str = "{:.0%}") -> list[SvgElement]:
    """A line across for each value, with the value on its left end."""
    words = [form.format(tick) if tick else form.format(tick).lstrip("+") for tick in ticks]
    texts = [SvgElement("text", {"x": 0, "y": y(tick) - 4}, word) for tick, word in zip(ticks, words, strict=True)]
    return [*(line("grid", 0, y(tick), 100, y(tick)) for tick in ticks), *texts]


def dot(look: str, x: float, y: float, ends: tuple[float, float] | None) -> list[SvgElement]:
    """A disc, with a line through it from one end of its interval to the other."""
    interval = [line(f"{look.split()[0]} interval", x, ends[0], x, ends[1])] if ends else []
    return [*interval, circle(look, x, y, 5)]


def circle(look: str, x: float, y: float, radius: float) -> SvgElement:
    """A disc or a ring; `x` in per cent."""
    return SvgElement("circle", {"class": look, "cx": f"{x:.2f}%", "cy": y, "r": radius})


def line(look: str, x1: float, y1: float, x2: float, y2: float) -> SvgElement:
    """A line; `x1`, `x2` in per cent."""
    return SvgElement("line", {"class": look, "x1": f"{x1:.2f}%", "y1": y1, "x2": f"{x2:.2f}%", "y2": y2})


def legend_mark(look: str, left: float, middle: float) -> SvgElement:
    """What a legend shows before its words: a line or a disc of that look, in a box of 20 pixels from `left` on."""
    if "line" in look.split():
        return SvgElement("line", {"class": look, "x1": left, "x2": left + 20, "y1": middle, "y2": middle})
    return SvgElement("circle", {"class": look, "cx": left + 10, "cy": middle, "r": 4.5})


def label(x: float, y: float, text: str) -> SvgElement:
    """A text whose middle is at `x`, in per cent."""
    return SvgElement("text", {"x": f"{x:.2f}%", "y": y, "text-anchor": "middle"}, text)


def polyline(look: str, places: Iterable[tuple[float, float]]) -> SvgElement:
    """A line through places; for `shapes`."""
    return SvgElement("polyline", {"class": look, "points": _points(places)})


def polygon(look: str, places: Iterable[tuple[float, float]]) -> SvgElement:
    """What lies between places; for `shapes`."""
    return SvgElement("polygon", {"class": look, "points": _points(places)})


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
