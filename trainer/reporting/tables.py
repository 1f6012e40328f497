"""A version's figures as tables of text, for its README.md and for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from preference.commands.tables import print_sentence, print_table
from preference.report_card.card import ModelCard

_RULES = {"longer": "the longer answer wins", "shorter": "the shorter answer wins", "style": "style only"}
_MOVES = "how much more often they choose the model's side where it is suggested, among tasks on which it is as sure"
_SHOWN_VERSIONS, _SHOWN_SUSPECTS = 10, 10


@dataclass(frozen=True)
class Section:
    """One table. A column that would be empty is left out."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(card: ModelCard) -> list[Section]:
    """The tables of a card, those without a row left out; a figure that is None has no row."""
    found = [
        _accuracy(card),
        _more(card.report),
        _effect(card.report),
        _versions(card),
        _annotators(card.report),
        _suspects(card.report),
    ]
    return [_without_empty_columns(section) for section in found if section.rows]


def print_card(card: ModelCard, console: Console | None = None) -> None:
    """Prints a card's verdict and tables."""
    console = console or Console(highlight=False)
    said = "promoted" if card.promoted else "kept back"
    print_sentence(f"{card.version} of project {card.project_id}, {said}: {card.reason}", console)
    for section in sections(card):
        console.print()
        print_table(section.header, section.rows, title=section.title, console=console)


def _accuracy(card: ModelCard) -> Section:
    m = card.metrics
    rows = [("this version", _share({"value": m.get("accuracy"), "interval": m.get("interval")}), "")]
    control = card.report.get("control_accuracy") or {}
    rows += [
        (f"{name}, where nothing was suggested (the control group)", _counted(figures), "")
        for name, figures in (("this version", control.get("this")), ("the champion before it", control.get("champion")))
        if figures and figures.get("value") is not None
    ]
    people = card.report.get("people") or {}
    if (agreement := people.get("agreement") or {}).get("value") is not None:
        alpha = f"; Krippendorff's alpha {people['alpha']:.2f}" if people.get("alpha") is not None else ""
        rows.append((f"two annotators agree, of {agreement['count']} comparisons", f"{_share(agreement)}{alpha}", ""))
    if m.get("champion") is not None:
        rows.append((f"the champion before it, {card.compared_with}", f"{m['champion']:.3f}", _gain(m)))
    for name, words in _RULES.items():
        figures = (m.get("baselines") or {}).get(name) or {"value": m.get(f"{name}_wins")}
        if figures["value"] is not None:
            best = ", best of the three in training" if m.get("baseline") == name else ""
            rows.append((f"{words}{best}", f"{figures['value']:.3f}", _gain(figures)))
    header = ("on the held-out comparisons", "accuracy", "gain of this version (95 % interval, one-sided McNemar p)")
    return Section("Accuracy", header, rows)


def _more(report: Mapping[str, Any]) -> Section:
    length, calibrated = report.get("length") or {}, report.get("reliability") or {}
    seen, ahead = report.get("suggestions") or {}, report.get("prequential") or {}
    rows = [
        ("expected calibration error", _number(calibrated.get("calibration_error"))),
        ("mean confidence", _number(calibrated.get("confidence"))),
        ("accuracy where lengths differ by a tenth at most", _counted(report.get("length_matched"))),
        ("correlation of reward and length (Spearman)", _number(length.get("spearman"), "+.2f")),
        ("the same within pairs", _number(length.get("spearman_within"), "+.2f")),
        ("this version prefers the longer answer", _counted(length.get("model_prefers_longer"))),
        ("people prefer the longer answer", _counted(length.get("people_prefer_longer"))),
        ("people pick the left answer", _counted(report.get("left_rate"))),
        ("people choose the side that was suggested", _counted(seen)),
        (f"{ahead.get('version')} on judgements that came after it", _counted(ahead)),
    ]
    return Section("Beyond accuracy", ("figure", "value"), [row for row in rows if row[1]])


def _effect(report: Mapping[str, Any]) -> Section:
    effect = report.get("suggestion_effect") or {}
    groups = [effect.get(name) or {} for name in ("with_suggestion", "without")]
    rows: list[tuple[str, ...]] = [
        (words, *(_counted(group.get(name)) for group in groups))
        for name, words in (
            ("model_side", "people choose the model's side"),
            ("majority", "say what most of the others said"),
            ("left_rate", "pick the left answer"),
        )
    ]
    rows.append(("median seconds", *(_seconds(group.get("lead_seconds")) for group in groups)))
    moves = effect.get("moves") or {}
    if moves.get("value") is not None:
        low, high = moves["interval"]
        rows.append((_MOVES, f"{moves['value']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})", ""))
    if effect.get("warning"):
        rows.append(("look at", effect["warning"], ""))
    header = ("judgements", "made with a suggestion", "made without one (the control group)")
    return Section("With and without a suggestion", header, [row for row in rows if any(row[1:])])


def _versions(card: ModelCard) -> Section:
    rows = [
        (
            row["version"],
            str(row["num_train_pairs"]),
            _number(row["accuracy"]),
            _number((row["prequential"] or {}).get("value")),
            "yes" if row["promoted"] else "no",
        )
        for row in (card.report.get("versions") or [])[-_SHOWN_VERSIONS:]
    ]
    return Section("Versions before it", ("version", "training pairs", "accuracy", "on later judgements", "promoted"), rows)


def _annotators(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            "unknown" if row["annotator"] is None else str(row["annotator"]),
            str(row["num_judgements"]),
            str(row["num_ties"]),
            _number(row["left_rate"]["value"], ".2f"),
            _number(row["agreement"]["value"], ".2f"),
            _number(row["lead_seconds"], ".0f"),
            ", ".join(row["flags"]),
        )
        for row in (report.get("people") or {}).get("annotators") or []
    ]
    header = ("annotator", "judgements", "ties", "picks left", "agrees with others", "median seconds", "look at")
    return Section("Annotators", header, rows)


def _suspects(report: Mapping[str, Any]) -> Section:
    rows = [
        (str(row["task"]), str(row["annotation"]), str(row["annotator"]), f"{row['probability']:.2f}", row["link"] or "")
        for row in (report.get("suspects") or [])[:_SHOWN_SUSPECTS]
    ]
    header = ("task", "annotation", "annotator", "chance that the label is right", "link")
    return Section("Labels worth a second look", header, rows)


def _without_empty_columns(section: Section) -> Section:
    keep = [i for i in range(len(section.header)) if i == 0 or any(row[i] for row in section.rows)]
    return Section(section.title, _pick(section.header, keep), [_pick(row, keep) for row in section.rows])


def _pick(cells: Sequence[str], keep: Sequence[int]) -> tuple[str, ...]:
    return tuple(cells[i] for i in keep)


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


def _share(figures: Mapping[str, Any] | None) -> str:
    """ "0.750 (95 % interval 0.598 to 0.858)", without what is not known."""
    if not figures or figures.get("value") is None:
        return ""
    interval = figures.get("interval")
    return f"{figures['value']:.3f}" + (f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _counted(figures: Mapping[str, Any] | None) -> str:
    text = _share(figures)
    return f"{text[:-1]}, of {figures['count']})" if text.endswith(")") and figures else text


def _seconds(figures: Mapping[str, Any] | None) -> str:
    if not figures or figures.get("value") is None:
        return ""
    low, high = figures["interval"]
    return f"{figures['value']:.1f} (95 % interval {low:.1f} to {high:.1f}, of {figures['count']})"


def _gain(figures: Mapping[str, Any]) -> str:
    if figures.get("gain") is None:
        return ""
    low, high = figures["gain_interval"]
    p = figures.get("p_better" if figures["gain"] >= 0 else "p_worse")
    return f"{figures['gain']:+.3f} ({low:+.3f} to {high:+.3f}{'' if p is None else f', p {p:.2g}'})"
