"""What a version's report says of the people who judged, as tables of text."""

from collections.abc import Mapping

from preference.commands import cells
from preference.commands.cells import Section
from preference.projects.annotator_names import name_of
from preference.report_card.figures import ReportFigures
from preference.report_card.people_figures import People
from preference.report_card.shares import Share

_MOST_SUSPECTS, _MOST_WEEKS = 10, 6


def annotators(report: ReportFigures, names: Mapping[str, str]) -> Section:
    """What each annotator did."""
    rows = [
        (
            name_of(row.annotator, names),
            cells.number(row.num_judgements, "d"),
            cells.number(row.num_ties, "d"),
            cells.number(row.left_rate.value if row.left_rate else None, ".2f"),
            cells.counted(row.agreement),
            cells.counted(row.with_self),
            cells.counted(row.gold),
            cells.number(row.lead_seconds, ".0f"),
            cells.number(row.num_too_fast or None, "d"),
            ", ".join(row.flags),
        )
        for row in (report.people or People()).annotators
    ]
    header = (
        "annotator", "judgements", "ties", "picks left", "agrees with others", "with oneself", "with ground truth", "median seconds",
        "faster than one reads", "look at",
    )  # fmt: skip
    return Section("Annotators", header, rows)


def weeks(report: ReportFigures, names: Mapping[str, str]) -> Section:
    """The same by week, of the latest weeks."""
    rows = [
        (
            name_of(row.annotator, names),
            week.week or "",
            cells.number(week.num_judgements, "d"),
            cells.number(week.left_rate.value if week.left_rate else None, ".2f"),
            cells.counted(week.agreement),
            cells.number(week.lead_seconds, ".0f"),
        )
        for row in (report.people or People()).annotators
        for week in row.weeks[-_MOST_WEEKS:]
    ]
    return Section("By week", ("annotator", "week", "judgements", "picks left", "agrees with others", "median seconds"), rows)


def guidelines(report: ReportFigures) -> Section:
    """Judgements by the version of the guidelines under which they were made."""
    rows = [
        (
            row.version or "none",
            (row.since or "")[:10],
            cells.number(row.num_judgements, "d"),
            cells.counted(row.agreement),
            cells.number(row.alpha, ".2f"),
            cells.counted(row.model),
        )
        for row in report.guidelines
    ]
    header = (
        "guidelines", "first judgement", "judgements", "two annotators agree", "Krippendorff's alpha",
        "agree with this version, held out",
    )  # fmt: skip
    return Section("By version of the guidelines", header, rows)


def criteria(report: ReportFigures) -> Section:
    """What annotators said beside the comparison."""
    rows = []
    for row in report.criteria:
        agreement, accuracy = row.agreement or Share(), row.accuracy or Share()
        rows.append((row.name, cells.number(row.num_judgements, "d"), cells.counted(agreement), cells.counted(accuracy)))
        rows += [
            (f"{row.name}: {said}", cells.number(by.count, "d"), "", cells.counted(by))
            for said, by in row.by_value.items()
            if by.count
        ]
    header = ("what else people say", "judgements", "two annotators agree", "accuracy of this version")
    return Section("Criteria and reasons", header, rows)


def kinds(report: ReportFigures, names: Mapping[str, str]) -> Section:
    """The kinds of answers that people choose or avoid."""
    rows = [
        (
            row.name,
            _of_many(row.people or Share()),
            ", ".join(f"{name_of(who, names)} {cells.number(by.value, '.2f')}" for who, by in row.by_annotator.items()),
        )
        for row in report.kinds
    ]
    return Section(
        "What people reward", ("answers that are more of this kind", "are chosen (interval for all 48)", "by annotator"), rows
    )


def suspects(report: ReportFigures, names: Mapping[str, str]) -> Section:
    """Labels that are likely wrong."""
    rows = [
        (
            cells.plain(row.task),
            cells.plain(row.annotation),
            "" if row.annotator is None else name_of(row.annotator, names),
            cells.number(row.probability, ".2f"),
            row.link or "",
        )
        for row in report.suspects[:_MOST_SUSPECTS]
    ]
    header = ("task", "annotation", "annotator", "chance that the label is right", "link")
    return Section("Labels worth a second look", header, rows)


def _of_many(share: Share) -> str:
    return cells.number(share.value, ".3f") + (f" ({cells.between(share.interval, '.3f')})" if share.interval else "")
