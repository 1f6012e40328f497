"""A version's figures as tables of text, for its README.md and for the terminal. What is not known has no row and no column."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from preference.commands import cells
from preference.commands.cells import Section
from preference.commands.tables import print_sentence, print_table
from preference.formatting import plural
from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions
from preference.report_card.certificate import Standing
from preference.report_card.certificate_chart import certificate_chart
from preference.report_card.figures import (
    ControlAccuracy,
    JudgementGroup,
    LengthFigures,
    Reliability,
    ReportFigures,
    RuleFigures,
    ServingOrder,
)
from preference.report_card.people_figures import People
from preference.report_card.raters import RaterFigures
from preference.report_card.shares import Share
from trainer.reporting import people_tables

_RULES = {"longer": "the longer answer wins", "shorter": "the shorter answer wins", "style": "style only"}
_RULE_ACCURACIES = {"longer": "longer_wins", "shorter": "shorter_wins", "style": "style_only"}
_MOVES = "how much more often they choose the model's side if it is suggested, among tasks on which it is as sure"
_MOST_VERSIONS = 10


def sections(card: ReportCard, *, names: Mapping[str, str] | None = None) -> list[Section]:
    """The tables of a card that have a row; a figure that is None has none. `names`: of annotators, by their numbers."""
    names = names or {}
    tables = [
        _accuracy(card),
        _more(card),
        _effect(card.report),
        _versions(card),
        people_tables.annotators(card.report, names),
        people_tables.weeks(card.report, names),
        people_tables.guidelines(card.report),
        people_tables.criteria(card.report),
        people_tables.kinds(card.report, names),
        _slices(card.report),
        people_tables.suspects(card.report, names),
    ]
    return [cells.without_empty_columns(section) for section in tables if section.rows]


def print_card(card: ReportCard, console: Console | None = None, *, names: Mapping[str, str] | None = None) -> None:
    """Prints a card's verdict and tables, and what of its file cannot be read."""
    console = console or Console(highlight=False)
    verdict = "promoted" if card.promoted else "kept back"
    print_sentence(f"{card.version} of project {card.project_id}, {verdict}: {card.reason}", console)
    for sentence in cautions(card, names=names):
        print_sentence(f"{sentence}.", console)
    if card.damage:
        print_sentence(card.damage, console)
    print_sections(sections(card, names=names), console)


def print_sections(tables: Sequence[Section], console: Console | None = None) -> None:
    """Prints these tables, each below a blank line."""
    console = console or Console(highlight=False)
    for section in tables:
        console.print()
        print_table(section.header, section.rows, title=section.title, console=console)


def raters(figures: Sequence[RaterFigures]) -> list[Section]:
    """The table of raters that are no people; none without one."""
    rows = [
        (
            row.rater,
            cells.counted(row.agreement),
            f"{cells.counted(row.champion_accuracy)} {row.champion or ''}".strip(),
            cells.counted(row.people),
            cells.number(row.num_ties, "d"),
            cells.number((row.num_unreadable or 0) + (row.num_refused or 0), "d"),
            cells.number(row.first_rate.value, ".2f"),
            row.judged_at[:10],
        )
        for row in figures
    ]
    header = (
        "rater", "agrees with people", "the champion, on the same comparisons", "two annotators agree", "ties", "without an opinion",
        "picks the first answer", "judged",
    )  # fmt: skip
    return [cells.without_empty_columns(Section("Raters that are no people", header, rows))] if rows else []


def print_standing(standing: Standing, console: Console | None = None) -> None:
    """Prints what blind judgements certify of a version, below a blank line."""
    console = console or Console(highlight=False)
    console.print()
    print_sentence(f"{standing}", console)
    audit, chart = standing.audit, certificate_chart(standing.certificate)
    if audit.num_votes:
        print_sentence(
            f"audited by {audit.num_votes} blind judgements since, of which {audit.num_agreeing} chose its side", console
        )
    if chart is not None:
        print_sections([Section("Certificate", chart.header, chart.rows)], console)


def _accuracy(card: ReportCard) -> Section:
    m, report = card.metrics, card.report
    rows = [("this version", cells.share(Share(m.accuracy, m.interval)), "")]
    control = report.control_accuracy or ControlAccuracy()
    rows += [
        (f"{name}, on comparisons without a suggestion (the control group)", cells.counted(share), "")
        for name, share in (("this version", control.this), ("the champion before it", control.champion))
        if share and share.value is not None
    ]
    order = report.serving_order or ServingOrder()
    if order.by_lot and order.by_lot.value is not None:
        rows.append(("this version, on comparisons that were served by lot", cells.counted(order.by_lot), ""))
    people = report.people or People()
    if people.agreement and people.agreement.value is not None:
        alpha = f"; Krippendorff's alpha {people.alpha:.2f}" if people.alpha is not None else ""
        count = (
            f", of {people.agreement.count} {plural(people.agreement.count, 'comparison')}"
            if people.agreement.count is not None
            else ""
        )
        rows.append((f"two annotators agree{count}", f"{cells.share(people.agreement)}{alpha}", ""))
    if m.champion is not None:
        rows.append((f"the champion before it, {card.compared_with}", f"{m.champion:.3f}", cells.gain(m)))
    for name, words in _RULES.items():
        rule = m.baselines.get(name) or RuleFigures(value=getattr(m, _RULE_ACCURACIES[name]))
        if rule.value is not None:
            best = ", best of the three in training" if m.baseline == name else ""
            rows.append((f"{words}{best}", f"{rule.value:.3f}", cells.gain(rule)))
    header = ("on the held-out comparisons", "accuracy", "gain of this version (95 % interval, one-sided McNemar p)")
    return Section("Accuracy", header, rows)


def _more(card: ReportCard) -> Section:
    report = card.report
    length, calibrated, later = report.length or LengthFigures(), report.reliability or Reliability(), report.prequential
    suggest_from = "at no confidence beyond chance" if card.metrics.interval else ""
    if card.suggest_from is not None:
        suggest_from = f"from {card.suggest_from:.2f} on"
    rows = [
        ("expected calibration error", cells.number(calibrated.calibration_error)),
        ("mean confidence", cells.number(calibrated.confidence)),
        ("suggests a side, unless SUGGEST_FROM is set", suggest_from),
        ("has learnt from", card.learnt_from),
        ("rankings among the judgements", str(report.num_rankings or "")),
        (f"opinions of {card.rater} that it also trained on", str(card.num_rated_pairs or "")),
        ("accuracy if lengths differ by a tenth at most", cells.counted(report.length_matched)),
        ("correlation of reward and length (Spearman)", cells.number(length.spearman, "+.2f")),
        ("the same within pairs", cells.number(length.spearman_within, "+.2f")),
        ("this version prefers the longer answer", cells.counted(length.model_prefers_longer)),
        ("people prefer the longer answer", cells.counted(length.people_prefer_longer)),
        ("people pick the left answer", cells.counted(report.left_rate)),
        ("people choose the side that was suggested", cells.counted(report.suggestions)),
        (f"{later.version if later else ''} on later judgements", cells.counted(later)),
    ]
    return Section("Beyond accuracy", ("figure", "value"), [row for row in rows if row[1]])


def _effect(report: ReportFigures) -> Section:
    header = ("judgements", "made with a suggestion", "made where it was not sure enough", "made without one (the control group)")
    title, effect = "With and without a suggestion", report.suggestion_effect
    if effect is None:
        return Section(title, header, [])
    groups = [group or JudgementGroup() for group in (effect.with_suggestion, effect.unlit, effect.without)]
    rows = [
        ("people choose the model's side", *(cells.counted(group.model_side) for group in groups)),
        ("agree with the majority of the others", *(cells.counted(group.majority) for group in groups)),
        ("pick the left answer", *(cells.counted(group.left_rate) for group in groups)),
        ("median seconds", *(cells.counted(group.lead_seconds, ".1f") for group in groups)),
        (_MOVES, cells.moved(effect.moves), "", ""),
        ("look at", effect.warning or "", "", ""),
    ]
    return Section(title, header, [row for row in rows if any(row[1:])])


def _versions(card: ReportCard) -> Section:
    rows = [
        (
            row.version,
            cells.number(row.num_train_pairs, "d"),
            cells.number(row.accuracy),
            cells.number(row.prequential.value if row.prequential else None),
            "yes" if row.promoted else "no",
        )
        for row in card.report.versions[-_MOST_VERSIONS:]
    ]
    return Section("Versions before it", ("version", "training pairs", "accuracy", "on later judgements", "promoted"), rows)


def _slices(report: ReportFigures) -> Section:
    rows = [
        (
            row.name,
            cells.counted(row.accuracy) or _too_few(row.accuracy),
            f"{row.num_missing} {plural(row.num_missing, 'more comparison is', 'more comparisons are')} needed"
            if row.num_missing
            else "",
        )
        for row in report.slices
    ]
    return Section("By kind of task", ("held-out comparisons of", "accuracy of this version", "missing"), rows)


def _too_few(known: Share | None) -> str:
    return f"unknown (of {known.count})" if known and known.count is not None else ""
