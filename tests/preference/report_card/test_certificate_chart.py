from dataclasses import replace

import pytest

from preference.report_card.certificate import Certificate, CertifiedPoint
from preference.report_card.certificate_chart import certificate_chart
from preference.report_card.svg import HEIGHT
from tests.support.certificates import CERTIFICATE


def test_the_curve_is_a_picture_and_a_table_of_threshold_coverage_and_lower_bound() -> None:
    chart = certificate_chart(CERTIFICATE)

    assert chart is not None
    assert chart.rows[3] == ("0.74", "46.0 %", "88.9 %", "81.7 %", "81") and len(chart.rows) == 7
    assert chart.summary == f"{CERTIFICATE}."
    assert [words for _, words in chart.legend] == [
        "people choose its side, from that confidence on; the lower edge: at least so often", "to be certified: 80.0 %", "share of the open tasks", "certified from 0.74 on"
    ]  # fmt: skip
    assert [shape.attributes["class"] for shape in chart.shapes] == ["model band", "rule line", "model line", "style line"]


@pytest.mark.parametrize("count", [1, 2, 50])
def test_any_number_of_thresholds_is_drawn_inside_the_frame_and_the_certified_one_is_among_them(count: int) -> None:
    points = tuple(CertifiedPoint(0.5 + i / 100, 1 - i / count, i / count, i / count / 2, 50 - i) for i in range(count))
    certified = points[count // 3].threshold
    chart = certificate_chart(replace(CERTIFICATE, curve=points, certified_from=certified))

    assert chart is not None and len(chart.rows) <= 20
    assert f"{certified:.2f}" in [row[0] for row in chart.rows]
    for element in [*chart.shapes, *chart.marks]:
        numbers = [
            float(str(element.attributes[name]).rstrip("%")) for name in ("cx", "cy", "y1", "y2") if name in element.attributes
        ]
        assert all(0 <= number <= HEIGHT for number in numbers)


def test_not_yet_has_a_curve_without_the_line_and_no_judgement_has_none() -> None:
    chart = certificate_chart(replace(CERTIFICATE, certified_from=None, reason="too few"))
    assert chart is not None and "certified from" not in str(chart.legend)
    assert certificate_chart(Certificate(target=0.8)) is None
    assert certificate_chart(replace(CERTIFICATE, curve=(CertifiedPoint(0.5, None, 0.7, None, 3),))) is not None
