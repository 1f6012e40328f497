"""The charts of a report card: each is a picture, a sentence and a table of the same figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from preference.formatting import between, per_cent, plural, short
from preference.report_card.card import ReportCard
from preference.report_card.figures import CurvePoint, JudgedFigures, LengthFigures, Reliability, VersionRow
from preference.report_card.shares import Share
from preference.report_card.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    SvgElement,
    accuracy_axis,
    circle,
    dot,
    gridlines,
    label,
    length_ticks,
    line,
    nice_ticks,
    polygon,
    polyline,
    scale,
    steps,
)
from preference.report_card.winners_curse import ENOUGH, excess_of

_MOST_VERSIONS = 16


@dataclass(frozen=True)
class Chart:
    """A picture, the words that say the same, and the figures as a table."""

    name: str
    title: str
    summary: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    shapes: list[SvgElement] = field(default_factory=list)  # drawn first, in a box of 100 by HEIGHT that is stretched
    marks: list[SvgElement] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # the class of its mark, and words


def charts_of(card: ReportCard, *, newest: ReportCard | None = None) -> list[Chart]:
    """The charts for which a card has figures. `newest`: the project's newest card, which knows all versions; None for this one."""
    newest = newest or card
    rows = {row.version: row for row in newest.report.versions} | {newest.version: newest.row}
    people, report = card.report.people, card.report
    charts = [
        versions_chart(list(rows.values()), people.agreement if people else None),
        reliability_chart(report.reliability),
        length_chart(report.length),
        learning_chart(report.learning_curve, card.metrics),
    ]
    return [chart for chart in charts if chart is not None]


def versions_chart(rows: Sequence[VersionRow], agreement: Share | None) -> Chart | None:
    """Held-out accuracy of each version, by its number, beside rules without a model and beside people; None without any."""
    rows = sorted((row for row in rows if row.accuracy is not None), key=_number)[-_MOST_VERSIONS:]
    if not rows:
        return None
    people = agreement if agreement is not None and agreement.value is not None else None
    values = [end for row in rows for end in (*(row.interval or ()), row.accuracy, row.length_rule, row.style_only)]
    values += [later.value for row in rows if (later := row.prequential)]
    values += [people.value] if people else []
    lowered = [_without_choice(row) if place or _number(row) not in (0, 1, math.inf) else None for place, row in enumerate(rows)]
    values += lowered
    y, ticks = accuracy_axis(values)
    x = steps(len(rows))
    chart = Chart(
        "accuracy", "Accuracy over versions",
        f"Held-out accuracy of {_counted(len(rows), 'version')}, from {per_cent(rows[0].accuracy)} ({_name(rows[0])}) to "
        f"{per_cent(rows[-1].accuracy)} ({_name(rows[-1])})"
        + (f". Two annotators agree in {per_cent(people.value)}." if people else "."),
        ("Version", "Accuracy", "Interval", "Length rule", "Later"),
        [
            (_name(row), per_cent(row.accuracy), between(row.interval), per_cent(row.length_rule),
             per_cent(row.prequential.value if row.prequential else None))
            for row in rows
        ],
    )  # fmt: skip
    chart.marks.extend(gridlines(y, ticks))
    for place in range(0, len(rows), max(1, math.ceil(len(rows) / 8))):
        chart.marks.append(label(x(place), HEIGHT - 14, _name(rows[place])))
    if people and people.value is not None:
        low, high = people.interval or (people.value, people.value)
        chart.shapes.append(
            SvgElement("rect", {"class": "people band", "x": 0, "width": 100, "y": y(high), "height": y(low) - y(high)})
        )
        chart.marks.append(line("people line", 0, y(people.value), 100, y(people.value)))
        chart.legend.append(("people line", "two annotators agree"))
    for look, words, values in (
        ("rule line", "better length rule", [row.length_rule for row in rows]),
        ("style line", "style only", [row.style_only for row in rows]),
    ):
        known = [(x(place), y(value)) for place, value in enumerate(values) if value is not None]
        if known:
            chart.shapes.append(polyline(look, known if len(known) > 1 else [(0, known[0][1]), (100, known[0][1])]))
            chart.legend.append((look, words))
    for place, row in enumerate(rows):
        look = "model dot" if row.promoted else "model ring"
        chart.marks.extend(dot(look, x(place), y(row.accuracy), row.interval and (y(row.interval[0]), y(row.interval[1]))))
        if row.prequential and row.prequential.value is not None:
            chart.marks.append(circle("later dot", x(place) + 1.6, y(row.prequential.value), 4))
        if (less := lowered[place]) is not None:
            chart.marks.append(line("model drop", x(place), y(row.accuracy), x(place), y(less)))
            chart.marks.append(circle("model hollow", x(place), y(less), 4))
    looks = {"model dot" if row.promoted else "model ring" for row in rows}
    chart.legend[:0] = [
        (look, words) for look, words in (("model dot", "promoted"), ("model ring", "kept back")) if look in looks
    ]
    if any(row.prequential and row.prequential.value is not None for row in rows):
        chart.legend.append(("later dot", "on later judgements"))
    if any(low is not None for low in lowered):
        chart.legend.append(("model hollow", f"less what being chosen on fewer than {ENOUGH} comparisons may add"))
    return chart


def reliability_chart(figures: Reliability | None) -> Chart | None:
    """Accuracy by confidence; None without any."""
    if figures is None or not figures.bins:
        return None
    bins = sorted(figures.bins, key=lambda row: row.confidence)
    y, ticks = accuracy_axis([end for row in bins for end in (*(row.interval or ()), row.value)])
    x = scale(0.5, 1, LEFT, RIGHT)
    error = f"; calibration error {per_cent(figures.calibration_error)}" if figures.calibration_error is not None else ""
    chart = Chart(
        "reliability", "Can its confidence be believed?",
        f"Accuracy is {per_cent(bins[0].value)} if the model is {per_cent(bins[0].confidence)} sure, and "
        f"{per_cent(bins[-1].value)} if it is {per_cent(bins[-1].confidence)} sure{error}.",
        ("Confidence", "Accuracy", "Interval", "Comparisons"),
        [(per_cent(row.confidence), per_cent(row.value), between(row.interval), _plain(row.count)) for row in bins],
        legend=[("model dot", "accuracy"), ("rule line", "as sure as it is right")],
    )  # fmt: skip
    chart.marks.extend(gridlines(y, ticks))
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        chart.marks.append(label(x(tick), HEIGHT - 14, f"{tick:.0%}"))
    chart.shapes.append(polyline("rule line", [(x(0.5), y(0.5)), (x(1), y(1))]))
    chart.shapes.append(polyline("model line", [(x(row.confidence), y(row.value)) for row in bins]))
    for row in bins:
        ends = row.interval and (y(row.interval[0]), y(row.interval[1]))
        chart.marks.extend(dot("model dot", x(max(0.5, row.confidence)), y(row.value), ends))
    return chart


def length_chart(figures: LengthFigures | None) -> Chart | None:
    """Reward against length; None without any."""
    if figures is None or len(figures.points) < 2:
        return None
    lengths, rewards = [max(1, point[0]) for point in figures.points], [point[1] for point in figures.points]
    x = scale(math.log(min(lengths)), math.log(max(lengths)), LEFT, RIGHT)
    y = scale(min(rewards), max(rewards), BOTTOM - 6, TOP + 6)
    people, model = figures.people_prefer_longer or Share(), figures.model_prefers_longer or Share()
    known = [
        ("Correlation (Spearman)", "" if figures.spearman is None else f"{figures.spearman:+.2f}"),
        ("Within pairs", "" if figures.spearman_within is None else f"{figures.spearman_within:+.2f}"),
        ("The model prefers the longer", per_cent(model.value)),
        ("People prefer the longer", per_cent(people.value)),
    ]
    known_words = [f"{name.lower()} {value}" for name, value in known if value]
    chart = Chart(
        "length", "Does it just like long answers?",
        f"Reward against length of {len(lengths)} answers of {_range(lengths)}{': ' if known_words else ''}{', '.join(known_words)}.",
        ("Figure", "Value"), [row for row in known if row[1]],
        legend=[("model dot", "chosen"), ("other ring", "rejected")],
    )  # fmt: skip
    chart.marks.extend(gridlines(y, nice_ticks(min(rewards), max(rewards)), form="{:+g}"))
    for tick in length_ticks(min(lengths), max(lengths)):
        chart.marks.append(label(x(math.log(tick)), HEIGHT - 14, f"{tick:,}"))
    for length, reward, is_chosen in figures.points:
        look = "model dot small" if is_chosen else "other ring small"
        chart.marks.append(circle(look, x(math.log(max(1, length))), y(reward), 3))
    return chart


def learning_chart(points: Sequence[CurvePoint], metrics: JudgedFigures) -> Chart | None:
    """Accuracy over training pairs; None for fewer than two points."""
    points = sorted(points, key=lambda point: point.num_pairs)
    if len(points) < 2:
        return None
    rule = metrics.length_rule
    y, ticks = accuracy_axis([rule, *(end for point in points for end in (*(point.interval or ()), point.accuracy))])
    x = scale(points[0].num_pairs, points[-1].num_pairs, LEFT, RIGHT)
    chart = Chart(
        "learning_curve", "Would more judgements help?",
        f"Held-out accuracy goes from {per_cent(points[0].accuracy)} with {points[0].num_pairs} training pairs to "
        f"{per_cent(points[-1].accuracy)} with {points[-1].num_pairs}.",
        ("Pairs", "Accuracy", "Interval"),
        [(str(point.num_pairs), per_cent(point.accuracy), between(point.interval)) for point in points],
        legend=[("model dot", "this recipe, with its interval")],
    )  # fmt: skip
    chart.marks.extend(gridlines(y, ticks))
    last = -math.inf
    for point in points:
        if x(point.num_pairs) - last > 11:  # else the numbers would touch
            last = x(point.num_pairs)
            chart.marks.append(label(last, HEIGHT - 14, str(point.num_pairs)))
    ends = [(x(point.num_pairs), *(point.interval or (point.accuracy, point.accuracy))) for point in points]
    outline = [*((place, y(low)) for place, low, _ in ends), *((place, y(high)) for place, _, high in reversed(ends))]
    chart.shapes.append(polygon("model band", outline))
    if rule is not None:
        chart.shapes.append(polyline("rule line", [(0, y(rule)), (100, y(rule))]))
        chart.legend.append(("rule line", "better length rule"))
    chart.shapes.append(polyline("model line", [(x(point.num_pairs), y(point.accuracy)) for point in points]))
    chart.marks.extend([circle("model dot", x(point.num_pairs), y(point.accuracy), 4.5) for point in points])
    return chart


def strip(share: Share, look: str) -> list[SvgElement]:
    """A share and its interval on a line from 0 to 1, 18 pixels high, with a tick at one half."""
    elements = [line("grid", 0, 9, 100, 9), line("half", 50, 2, 50, 16)]
    if share.value is not None:
        low, high = share.interval or (share.value, share.value)
        elements.append(line(f"{look.split()[0]} interval", 100 * low, 9, 100 * high, 9))
        elements.append(circle(look, 100 * share.value, 9, 5))
    return elements


def _without_choice(row: VersionRow) -> float | None:
    """The accuracy less what choosing the version on few comparisons may have added, if others were before it; None if they are many."""
    excess = excess_of(row, promoted=row.promoted)
    return None if excess is None or row.accuracy is None else max(row.accuracy - excess, 0.0)


def _name(row: VersionRow) -> str:
    return short(row.version) or "this"  # a version has no name before it is published


def _number(row: VersionRow) -> float:
    digits = short(row.version).removeprefix("v")
    return int(digits) if digits.isdecimal() else 0 if row.version else math.inf


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _plain(count: int | None) -> str:
    return "" if count is None else str(count)


def _range(lengths: Sequence[int]) -> str:
    low, high = min(lengths), max(lengths)
    return f"{high} {plural(high, 'character')}" if low == high else f"{low} to {high} {plural(high, 'character')}"
