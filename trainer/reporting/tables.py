"""A version's figures as tables of text, for its README.md and for the terminal. What is not known has no row and no column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from preference.commands.tables import print_sentence, print_table
from preference.formatting import plural
from preference.projects.annotator_names import name_of
from preference.report_card.card import ReportCard
from preference.report_card.cautions import cautions
from preference.report_card.certificate import Standing
from preference.report_card.certificate_chart import certificate_chart
from preference.report_card.figures import (
    Comparison,
    ControlAccuracy,
    JudgementGroup,
    LengthFigures,
    People,
    Reliability,
    ReportFigures,
    RuleFigures,
    ServingOrder,
)
from preference.report_card.raters import RaterFigures
from preference.report_card.shares import Median, Share, ShareDifference

_RULES = {"longer": "the longer answer wins", "shorter": "the shorter answer wins", "style": "style only"}
_RULE_ACCURACIES = {"longer": "longer_wins", "shorter": "shorter_wins", "style": "style_only"}
_MOVES = "how much more often they choose the model's side if it is suggested, among tasks on which it is as sure"
_MOST_VERSIONS, _MOST_SUSPECTS, _MOST_WEEKS = 10, 10, 6


@dataclass(frozen=True)
class Section:
    """One table, which has no column that would be empty."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(card: ReportCard, *, names: Mapping[str, str] | None = None) -> list[Section]:
    """The tables of a card that have a row; a figure that is None has none. `names`: of annotators, by their numbers."""
    names = names or {}
    tables = [
        _accuracy(card),
        _more(card),
        _effect(card.report),
        _versions(card),
        _annotators(card.report, names),
        _weeks(card.report, names),
        _guidelines(card.report),
        _criteria(card.report),
        _kinds(card.report, names),
        _slices(card.report),
        _suspects(card.report, names),
    ]
    return [_without_empty_columns(section) for section in tables if section.rows]


def print_card(card: ReportCard, console: Console | None = None, *, names: Mapping[str, str] | None = None) -> None:
    """Prints a card's verdict and tables, and what of its file cannot be read."""
    console = console or Console(highlight=False)
    verdict = "promoted" if card.promoted else "kept back"
    print_sentence(f"{card.version} of project {card.project_id}, {verdict}: {card.reason}", console)
    for sentence in cautions(card):
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
            _counted(row.agreement),
            f"{_counted(row.champion_accuracy)} {row.champion or ''}".strip(),
            _counted(row.people),
            _number(row.num_ties, "d"),
            _number((row.num_unreadable or 0) + (row.num_refused or 0), "d"),
            _number(row.first_rate.value, ".2f"),
            row.judged_at[:10],
        )
        for row in figures
    ]
    header = (
        "rater", "agrees with people", "the champion, on the same comparisons", "two annotators agree", "ties", "without an opinion",
        "picks the first answer", "judged",
    )  # fmt: skip
    return [_without_empty_columns(Section("Raters that are no people", header, rows))] if rows else []


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
    rows = [("this version", _share(Share(m.accuracy, m.interval)), "")]
    control = report.control_accuracy or ControlAccuracy()
    rows += [
        (f"{name}, on comparisons without a suggestion (the control group)", _counted(share), "")
        for name, share in (("this version", control.this), ("the champion before it", control.champion))
        if share and share.value is not None
    ]
    order = report.serving_order or ServingOrder()
    if order.by_lot and order.by_lot.value is not None:
        rows.append(("this version, on comparisons that were served by lot", _counted(order.by_lot), ""))
    people = report.people or People()
    if people.agreement and people.agreement.value is not None:
        alpha = f"; Krippendorff's alpha {people.alpha:.2f}" if people.alpha is not None else ""
        count = (
            f", of {people.agreement.count} {plural(people.agreement.count, 'comparison')}"
            if people.agreement.count is not None
            else ""
        )
        rows.append((f"two annotators agree{count}", f"{_share(people.agreement)}{alpha}", ""))
    if m.champion is not None:
        rows.append((f"the champion before it, {card.compared_with}", f"{m.champion:.3f}", _gain(m)))
    for name, words in _RULES.items():
        rule = m.baselines.get(name) or RuleFigures(value=getattr(m, _RULE_ACCURACIES[name]))
        if rule.value is not None:
            best = ", best of the three in training" if m.baseline == name else ""
            rows.append((f"{words}{best}", f"{rule.value:.3f}", _gain(rule)))
    header = ("on the held-out comparisons", "accuracy", "gain of this version (95 % interval, one-sided McNemar p)")
    return Section("Accuracy", header, rows)


def _more(card: ReportCard) -> Section:
    report = card.report
    length, calibrated, later = report.length or LengthFigures(), report.reliability or Reliability(), report.prequential
    suggest_from = "at no confidence beyond chance" if card.metrics.interval else ""
    if card.suggest_from is not None:
        suggest_from = f"from {card.suggest_from:.2f} on"
    rows = [
        ("expected calibration error", _number(calibrated.calibration_error)),
        ("mean confidence", _number(calibrated.confidence)),
        ("suggests a side, unless SUGGEST_FROM is set", suggest_from),
        ("has learnt from", card.learnt_from),
        ("rankings among the judgements", str(report.num_rankings or "")),
        (f"opinions of {card.rater} that it also trained on", str(card.num_rated_pairs or "")),
        ("accuracy if lengths differ by a tenth at most", _counted(report.length_matched)),
        ("correlation of reward and length (Spearman)", _number(length.spearman, "+.2f")),
        ("the same within pairs", _number(length.spearman_within, "+.2f")),
        ("this version prefers the longer answer", _counted(length.model_prefers_longer)),
        ("people prefer the longer answer", _counted(length.people_prefer_longer)),
        ("people pick the left answer", _counted(report.left_rate)),
        ("people choose the side that was suggested", _counted(report.suggestions)),
        (f"{later.version if later else ''} on later judgements", _counted(later)),
    ]
    return Section("Beyond accuracy", ("figure", "value"), [row for row in rows if row[1]])


def _effect(report: ReportFigures) -> Section:
    header = ("judgements", "made with a suggestion", "made where it was not sure enough", "made without one (the control group)")
    title, effect = "With and without a suggestion", report.suggestion_effect
    if effect is None:
        return Section(title, header, [])
    groups = [group or JudgementGroup() for group in (effect.with_suggestion, effect.unlit, effect.without)]
    rows = [
        ("people choose the model's side", *(_counted(group.model_side) for group in groups)),
        ("agree with the majority of the others", *(_counted(group.majority) for group in groups)),
        ("pick the left answer", *(_counted(group.left_rate) for group in groups)),
        ("median seconds", *(_counted(group.lead_seconds, ".1f") for group in groups)),
        (_MOVES, _moved(effect.moves), "", ""),
        ("look at", effect.warning or "", "", ""),
    ]
    return Section(title, header, [row for row in rows if any(row[1:])])


def _versions(card: ReportCard) -> Section:
    rows = [
        (
            row.version,
            _number(row.num_train_pairs, "d"),
            _number(row.accuracy),
            _number(row.prequential.value if row.prequential else None),
            "yes" if row.promoted else "no",
        )
        for row in card.report.versions[-_MOST_VERSIONS:]
    ]
    return Section("Versions before it", ("version", "training pairs", "accuracy", "on later judgements", "promoted"), rows)


def _annotators(report: ReportFigures, names: Mapping[str, str]) -> Section:
    rows = [
        (
            name_of(row.annotator, names),
            _number(row.num_judgements, "d"),
            _number(row.num_ties, "d"),
            _number(row.left_rate.value if row.left_rate else None, ".2f"),
            _counted(row.agreement),
            _counted(row.with_self),
            _counted(row.gold),
            _number(row.lead_seconds, ".0f"),
            _number(row.num_too_fast or None, "d"),
            ", ".join(row.flags),
        )
        for row in (report.people or People()).annotators
    ]
    header = (
        "annotator", "judgements", "ties", "picks left", "agrees with others", "with oneself", "with ground truth", "median seconds",
        "faster than one reads", "look at",
    )  # fmt: skip
    return Section("Annotators", header, rows)


def _weeks(report: ReportFigures, names: Mapping[str, str]) -> Section:
    rows = [
        (
            name_of(row.annotator, names),
            week.week or "",
            _number(week.num_judgements, "d"),
            _number(week.left_rate.value if week.left_rate else None, ".2f"),
            _counted(week.agreement),
            _number(week.lead_seconds, ".0f"),
        )
        for row in (report.people or People()).annotators
        for week in row.weeks[-_MOST_WEEKS:]
    ]
    return Section("By week", ("annotator", "week", "judgements", "picks left", "agrees with others", "median seconds"), rows)


def _guidelines(report: ReportFigures) -> Section:
    rows = [
        (
            row.version or "none",
            (row.since or "")[:10],
            _number(row.num_judgements, "d"),
            _counted(row.agreement),
            _number(row.alpha, ".2f"),
            _counted(row.model),
        )
        for row in report.guidelines
    ]
    header = (
        "guidelines", "first judgement", "judgements", "two annotators agree", "Krippendorff's alpha",
        "agree with this version, held out",
    )  # fmt: skip
    return Section("By version of the guidelines", header, rows)


def _criteria(report: ReportFigures) -> Section:
    rows = []
    for row in report.criteria:
        agreement, accuracy = row.agreement or Share(), row.accuracy or Share()
        rows.append((row.name, _number(row.num_judgements, "d"), _counted(agreement), _counted(accuracy)))
        rows += [
            (f"{row.name}: {said}", _number(by.count, "d"), "", _counted(by)) for said, by in row.by_value.items() if by.count
        ]
    header = ("what else people say", "judgements", "two annotators agree", "accuracy of this version")
    return Section("Criteria and reasons", header, rows)


def _kinds(report: ReportFigures, names: Mapping[str, str]) -> Section:
    rows = [
        (
            row.name,
            _of_many(row.people or Share()),
            ", ".join(f"{name_of(who, names)} {_number(by.value, '.2f')}" for who, by in row.by_annotator.items()),
        )
        for row in report.kinds
    ]
    return Section(
        "What people reward", ("answers that are more of this kind", "are chosen (interval for all 48)", "by annotator"), rows
    )


def _of_many(share: Share) -> str:
    return _number(share.value, ".3f") + (f" ({_between(share.interval, '.3f')})" if share.interval else "")


def _slices(report: ReportFigures) -> Section:
    rows = [
        (
            row.name,
            _counted(row.accuracy) or _too_few(row.accuracy),
            f"{row.num_missing} {plural(row.num_missing, 'more comparison is', 'more comparisons are')} needed"
            if row.num_missing
            else "",
        )
        for row in report.slices
    ]
    return Section("By kind of task", ("held-out comparisons of", "accuracy of this version", "missing"), rows)


def _too_few(known: Share | None) -> str:
    return f"unknown (of {known.count})" if known and known.count is not None else ""


def _suspects(report: ReportFigures, names: Mapping[str, str]) -> Section:
    rows = [
        (
            _plain(row.task),
            _plain(row.annotation),
            "" if row.annotator is None else name_of(row.annotator, names),
            _number(row.probability, ".2f"),
            row.link or "",
        )
        for row in report.suspects[:_MOST_SUSPECTS]
    ]
    header = ("task", "annotation", "annotator", "chance that the label is right", "link")
    return Section("Labels worth a second look", header, rows)


def _without_empty_columns(section: Section) -> Section:
    keep = [i for i in range(len(section.header)) if i == 0 or any(row[i] for row in section.rows)]
    return Section(section.title, _pick(section.header, keep), [_pick(row, keep) for row in section.rows])


def _pick(cells: Sequence[str], keep: Sequence[int]) -> tuple[str, ...]:
    return tuple(cells[i] for i in keep)


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


def _share(share: Share | Median | None, form: str = ".3f") -> str:
    """ "0.750 (95 % interval 0.598 to 0.858)", without what is not known."""
    if share is None or share.value is None:
        return ""
    return f"{share.value:{form}}" + (f" (95 % interval {_between(share.interval, form)})" if share.interval else "")


def _counted(share: Share | Median | None, form: str = ".3f") -> str:
    text = _share(share, form)
    return f"{text[:-1]}, of {share.count})" if text.endswith(")") and share and share.count is not None else text


def _moved(moves: ShareDifference | None) -> str:
    if moves is None or moves.value is None:
        return ""
    return f"{moves.value:+.3f}" + (f" (95 % interval {_between(moves.interval, '+.3f')})" if moves.interval else "")


def _gain(figures: Comparison) -> str:
    if figures.gain is None:
        return ""
    interval = _between(figures.gain_interval, "+.3f") if figures.gain_interval else ""
    p = figures.p_better if figures.gain >= 0 else figures.p_worse
    known = [*filter(None, [interval, "" if p is None else f"p {p:.2g}"])]
    return f"{figures.gain:+.3f}" + (f" ({', '.join(known)})" if known else "")


def _between(ends: tuple[float, float], form: str) -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}"
