"""The report card's pictures, as SVG files whose bytes depend on the figures alone.

Colours are Okabe and Ito's, which colour-blind people tell apart (https://jfly.uni-koeln.de/color/); shapes differ too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.report_card.card import ModelCard

if TYPE_CHECKING:  # matplotlib reads fonts and its settings when it is imported, which only who draws needs to wait for
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN, _RED, _SKY, _GREY, _INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#8A8A8A", "#333333"
_STYLE: Any = {
    "svg.hashsalt": "pairloop",  # else the ids in the file are random
    "svg.fonttype": "path",  # looks the same wherever it is opened
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
_SHOWN_VERSIONS = 16
_LEGEND: Any = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "alignment": "left"}


@dataclass(frozen=True)
class Picture:
    """A file in the version's folder, and what it shows."""

    file: str
    title: str


def draw_pictures(card: ModelCard, folder: Path, *, file_format: str = "svg") -> list[Picture]:
    """The pictures of a card's figures, which now lie in the existing `folder`; without data for one, it is not drawn."""
    drawn = []
    for picture, draw, has_data in _PICTURES:
        if has_data(card):
            path = folder / f"{picture.file}.{file_format}"
            _draw(card, picture.title, draw, path)
            drawn.append(Picture(path.name, picture.title))
    return drawn


def _draw(card: ModelCard, title: str, draw: "Callable[[Axes, ModelCard], None]", path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")  # without pyplot: no window system, nothing kept open
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes, card)
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _versions(axes: "Axes", card: ModelCard) -> None:
    rows = [*_version_rows(card)]
    labels = [str(row["version"]).split("-")[0] for row in rows[:-1]] + ["this"]
    people = ((card.report.get("people") or {}).get("agreement")) or {}
    if people.get("value") is not None:
        low, high = people["interval"]
        axes.axhspan(low, high, color=_GREEN, alpha=0.1, linewidth=0)
        axes.axhline(people["value"], color=_GREEN, linewidth=1.5, label="two annotators agree")
    for name, rule in _RULES.items():
        found = [(i, value) for i, row in enumerate(rows) if (value := rule(row)) is not None]
        if found:
            axes.plot(*zip(*found, strict=True), markersize=4, label=name, **_RULE_LOOKS[name])
    later = [(i + 0.17, row["prequential"]["value"]) for i, row in enumerate(rows) if row["prequential"]]
    if later:
        axes.plot(
            *zip(*later, strict=True), linestyle="none", marker="D", color=_ORANGE, markersize=6, label="on later judgements"
        )
    for promoted, fill, words in ((True, _BLUE, "held out, promoted"), (False, "white", "held out, kept back")):
        chosen = [(i, row) for i, row in enumerate(rows) if row["accuracy"] is not None and row["promoted"] is promoted]
        if chosen:
            _with_intervals(
                axes, [i for i, _ in chosen], [row["accuracy"] for _, row in chosen], [row["interval"] for _, row in chosen],
                color=_BLUE, markerfacecolor=fill, label=words,
            )  # fmt: skip
    axes.set_xticks(range(len(rows)), labels)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylabel("accuracy, with 95 % intervals")
    axes.set_ylim(*_limits(axes))
    axes.grid(visible=False, axis="x")
    axes.legend(**_LEGEND)


def _version_rows(card: ModelCard) -> list[dict[str, Any]]:
    this = {key: card.metrics.get(key) for key in ("accuracy", "interval", "longer_wins", "shorter_wins", "style_only")}
    earlier = (card.report.get("versions") or [])[-_SHOWN_VERSIONS + 1 :]
    return [*earlier, {**this, "version": "this", "promoted": card.promoted, "prequential": None}]


def _reliability(axes: "Axes", card: ModelCard) -> None:
    figures = card.report["reliability"]
    bins = figures["bins"]
    axes.plot([0.5, 1], [0.5, 1], color=_GREY, linestyle="--", linewidth=1.2, label="as sure as it is right")
    _with_intervals(
        axes, [row["confidence"] for row in bins], [row["value"] for row in bins], [row["interval"] for row in bins],
        color=_BLUE, markerfacecolor=_BLUE, label=f"bins of {_range([row['count'] for row in bins])} comparisons",
    )  # fmt: skip
    axes.set_xlabel("the model's confidence")
    axes.set_ylabel("accuracy, with 95 % intervals")
    axes.set_xlim(0.49, 1.01)
    axes.set_ylim(min(0.4, min(row["interval"][0] for row in bins) - 0.02), 1.02)
    axes.legend(title=f"expected calibration\nerror {figures['calibration_error']:.3f}", **_LEGEND)


def _length(axes: "Axes", card: ModelCard) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    figures = card.report["length"]
    for is_chosen, color, marker, words in ((0, _ORANGE, "x", "rejected"), (1, _BLUE, "o", "chosen")):
        points = [(max(length, 1), reward) for length, reward, chosen in figures["points"] if chosen == is_chosen]
        lengths, rewards = zip(*points, strict=True)
        axes.plot(lengths, rewards, marker, markersize=5, markerfacecolor="none", color=color, alpha=0.75, label=words)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("length of the answer in characters")
    axes.set_ylabel("reward")
    within = figures["spearman_within"]
    said = "" if within is None else f"\nwithin pairs: Spearman {within:+.2f}"
    over = figures["spearman"]
    axes.legend(title=f"{'' if over is None else f'all answers: Spearman {over:+.2f}'}{said}", **_LEGEND)


def _learning_curve(axes: "Axes", card: ModelCard) -> None:
    curve = card.report["learning_curve"]
    pairs = [row["num_pairs"] for row in curve]
    axes.fill_between(
        pairs, [row["interval"][0] for row in curve], [row["interval"][1] for row in curve], color=_SKY, alpha=0.25, linewidth=0,
        label="95 % interval",
    )  # fmt: skip
    axes.plot(pairs, [row["accuracy"] for row in curve], color=_BLUE, marker="o", linewidth=1.8, label="this recipe")
    for name, rule in _RULES.items():
        if (value := rule(card.metrics)) is not None:
            axes.axhline(value, label=name, **{**_RULE_LOOKS[name], "marker": ""})
    axes.set_xlabel("training pairs")
    axes.set_ylabel("held-out accuracy")
    axes.set_ylim(*_limits(axes))
    axes.legend(**_LEGEND)


def _with_intervals(axes: "Axes", xs: list[float], ys: list[float], intervals: list[Any], **style: Any) -> None:
    ends = [interval or (y, y) for y, interval in zip(ys, intervals, strict=True)]
    below = [max(y - low, 0) for y, (low, _) in zip(ys, ends, strict=True)]
    above = [max(high - y, 0) for y, (_, high) in zip(ys, ends, strict=True)]
    axes.errorbar(xs, ys, yerr=[below, above], fmt="o", markersize=7, elinewidth=1.5, capsize=3, zorder=3, **style)


def _limits(axes: "Axes") -> tuple[float, float]:
    """What holds all that was drawn, at least .4 to .9, never beyond 0 and 1 by more than a mark's width."""
    low, high = axes.get_ylim()
    return max(min(low, 0.4), -0.02), min(max(high, 0.9), 1.02)


def _range(counts: list[int]) -> str:
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _length_rule(row: Mapping[str, Any]) -> float | None:
    return max((row[key] for key in ("longer_wins", "shorter_wins") if row.get(key) is not None), default=None)


_RULES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "the better length rule": _length_rule,
    "style only": lambda row: row.get("style_only"),
}
_RULE_LOOKS: dict[str, Any] = {
    "the better length rule": {"color": _GREY, "linestyle": "--", "linewidth": 1.3, "marker": "s"},
    "style only": {"color": _RED, "linestyle": ":", "linewidth": 1.6, "marker": "^"},
}
_PICTURES: list[tuple[Picture, "Callable[[Axes, ModelCard], None]", Callable[[ModelCard], bool]]] = [
    (Picture("accuracy", "Accuracy over versions"), _versions, lambda card: card.metrics.get("interval") is not None),
    (Picture("reliability", "Confidence and accuracy"), _reliability, lambda card: bool(card.report.get("reliability"))),
    (Picture("length", "Reward against length"), _length, lambda card: bool(card.report.get("length"))),
    (
        Picture("learning_curve", "Accuracy over training pairs"),
        _learning_curve,
        lambda card: len(card.report.get("learning_curve") or []) > 1,
    ),
]
