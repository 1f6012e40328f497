"""The chart of a certificate: how often people choose the version's side, and how many open tasks that covers, by confidence."""

from math import ceil

from preference.formatting import per_cent
from preference.report_card.certificate import Certificate, CertifiedPoint
from preference.report_card.charts import Chart
from preference.report_card.svg import (
    HEIGHT,
    LEFT,
    RIGHT,
    accuracy_axis,
    circle,
    gridlines,
    label,
    line,
    polygon,
    polyline,
    scale,
)

_MOST_POINTS = 14


def certificate_chart(certificate: Certificate) -> Chart | None:
    """None if there were no blind judgements."""
    points = _some([point for point in certificate.curve if point.agreement is not None], certificate.point)
    if not points or certificate.target is None:
        return None
    covered = [point for point in points if point.coverage is not None]
    y, ticks = accuracy_axis([certificate.target, *(end for p in points for end in (p.lower, p.agreement, p.coverage))])
    x = scale(0.5, 1, LEFT, RIGHT)
    chart = Chart(
        "certificate", "How far can its side stand for people's?", f"{certificate}.",
        ("Confidence", "Open tasks", "People choose its side", "At least", "Blind judgements"),
        [
            (f"{p.threshold:.2f}", per_cent(p.coverage), per_cent(p.agreement), per_cent(p.lower), "" if p.count is None else str(p.count))
            for p in points
        ],
        legend=[("model dot", "people choose its side, from that confidence on; the lower edge: at least so often"), ("rule line", f"to be certified: {per_cent(certificate.target)}")],
    )  # fmt: skip
    chart.marks.extend(gridlines(y, ticks))
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        chart.marks.append(label(x(tick), HEIGHT - 14, f"{tick:.1f}"))
    upper = [(x(p.threshold), y(p.agreement)) for p in points]
    lower = [(x(p.threshold), y(p.lower or 0.0)) for p in points]
    chart.shapes.append(polygon("model band", [*lower, *reversed(upper)]))
    chart.shapes.append(polyline("rule line", [(0, y(certificate.target)), (100, y(certificate.target))]))
    chart.shapes.append(polyline("model line", upper))
    if covered:
        chart.shapes.append(polyline("style line", [(x(p.threshold), y(p.coverage)) for p in covered]))
        chart.legend.append(("style line", "share of the open tasks"))
    if certificate.certified_from is not None:
        chart.marks.append(
            line("people line", x(certificate.certified_from), y(ticks[-1]), x(certificate.certified_from), y(ticks[0]))
        )
        chart.legend.append(("people line", f"certified from {certificate.certified_from:.2f} on"))
    chart.marks.extend(circle("model dot small", x(p.threshold), y(p.agreement), 3) for p in points)
    return chart


def _some(points: list[CertifiedPoint], certified: CertifiedPoint | None) -> list[CertifiedPoint]:
    """So few that their marks stand apart, by rising threshold: the one that is certified, the outermost, and some between."""
    points = sorted(points, key=lambda point: point.threshold)
    step = ceil(len(points) / _MOST_POINTS)
    return [point for i, point in enumerate(points) if i % step == 0 or point == certified or i == len(points) - 1]
