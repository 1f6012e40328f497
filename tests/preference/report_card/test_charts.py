import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from preference.report_card.charts import Chart, learning_chart, length_chart, reliability_chart, strip, versions_chart
from preference.report_card.figures import Bin, CurvePoint, JudgedFigures, LaterAccuracy, LengthFigures, Reliability, VersionRow
from preference.report_card.shares import Share
from preference.report_card.svg import HEIGHT, SvgElement, accuracy_axis, length_ticks, nice_ticks
from preference.report_card.svg_document import CHART_STYLE

SHARE = Share(value=0.7, interval=(0.6, 0.8), count=50)


def row(number: int, accuracy: float | None, *, promoted: bool = True) -> VersionRow:
    interval = None if accuracy is None else (max(0.0, accuracy - 0.1), min(1.0, accuracy + 0.1))
    return VersionRow(
        version=f"v{number}-20261101-000000", promoted=promoted, num_train_pairs=30, accuracy=accuracy, interval=interval,
        longer_wins=0.55, shorter_wins=0.45, style_only=0.5, prequential=LaterAccuracy(0.7, (0.6, 0.8), 50),
    )  # fmt: skip


def spread(figures: dict[str, object]) -> Iterator[float]:
    """Every number that places a mark."""
    for name, value in figures.items():
        if name in ("cx", "cy", "x", "y", "x1", "x2", "y1", "y2", "width", "height"):
            yield float(str(value).rstrip("%"))
        elif name == "points":
            yield from (float(number) for number in re.split("[ ,]", str(value)))


def assert_drawn(chart: Chart | None) -> Chart:
    """It lies inside its frame, and its words and its table say what it shows."""
    assert chart is not None
    for mark in [*chart.shapes, *chart.marks]:
        assert all(0 <= number <= max(HEIGHT, 100) for number in spread(mark.attributes)), mark
    assert chart.summary.endswith(".") and "None" not in chart.summary and "nan" not in chart.summary
    assert chart.rows and all(len(cells) == len(chart.header) for cells in chart.rows)
    assert chart.legend
    return chart


def discs(chart: Chart, look: str) -> list[SvgElement]:
    return [mark for mark in chart.marks if mark.tag == "circle" and mark.attributes["class"] == look]


@pytest.mark.parametrize("accuracies", [[0.7], [0.5, 0.6, 0.9], [0.0], [1.0], [0.0, 1.0], [0.731] * 60])
def test_versions_of_any_number_and_accuracy_are_drawn(accuracies: list[float]) -> None:
    chart = assert_drawn(versions_chart([row(i, accuracy) for i, accuracy in enumerate(accuracies)], SHARE))

    assert len(discs(chart, "model dot")) == min(len(accuracies), 16)
    assert ("people line", "two annotators agree") in chart.legend


def test_a_version_that_was_chosen_on_few_comparisons_has_a_second_mark_below() -> None:
    rows = [replace(row(i, 0.8, promoted=i != 2), num_pairs=count) for i, count in enumerate((30, 400, 30, 12, 30, 8))]

    chart = assert_drawn(versions_chart(rows, None))

    heights = [mark.attributes["cy"] for mark in discs(chart, "model hollow")]
    assert len(heights) == 3, "the first version was chosen from none"
    assert float(str(heights[2])) > float(str(heights[0])) > float(str(heights[1]))
    assert float(str(heights[1])) > float(str(discs(chart, "model dot")[0].attributes["cy"]))
    assert len(discs(assert_drawn(versions_chart([replace(rows[0], version="")], None)), "model hollow")) == 0
    assert ("model hollow", "less what being chosen on fewer than 100 comparisons may add") in chart.legend


def test_versions_that_were_kept_back_have_another_mark_and_those_without_a_figure_none() -> None:
    chart = assert_drawn(versions_chart([row(1, 0.6), row(2, None), row(3, 0.7, promoted=False)], None))

    assert [len(discs(chart, look)) for look in ("model dot", "model ring", "later dot")] == [1, 1, 2]
    assert [cells[0] for cells in chart.rows] == ["v1", "v3"]
    assert versions_chart([row(2, None)], SHARE) is None and versions_chart([], None) is None


def test_better_is_higher_and_later_is_further_right() -> None:
    chart = assert_drawn(versions_chart([row(10, 0.8), row(9, 0.6)], None))  # as they are listed if both are of one second
    worse, better = discs(chart, "model dot")

    assert worse.attributes["cy"] > better.attributes["cy"]
    assert float(worse.attributes["cx"].rstrip("%")) < float(better.attributes["cx"].rstrip("%"))


@pytest.mark.parametrize("confidences", [[0.5], [0.5, 1.0], [0.55, 0.7, 0.9], [0.1, 0.9]])
def test_reliability_is_drawn_beside_the_line_on_which_it_should_lie(confidences: list[float]) -> None:
    bins = [Bin(confidence=confidence, value=0.7, interval=(0.6, 0.8), count=20) for confidence in confidences]

    chart = assert_drawn(reliability_chart(Reliability(calibration_error=0.05, bins=tuple(bins))))

    assert len(chart.rows) == len(confidences)
    assert reliability_chart(None) is None and reliability_chart(Reliability()) is None


@pytest.mark.parametrize(
    "points",
    [
        [(10, 0.5, 1), (1000, -0.5, 0)],
        [(0, 0.0, 1), (0, 0.0, 0)],
        [(40, 2.0, 1), (44, 2.0, 0)],
        [(1, -1e15, 1), (10**15, 1e15, 0)],
        [(7, 1e-9, 1), (9, 0.0, 0)],
    ],
)
def test_reward_against_length_is_drawn_whatever_the_lengths(points: list[tuple[int, float, int]]) -> None:
    chart = assert_drawn(length_chart(LengthFigures(spearman=0.2, points=tuple(points))))

    assert len(discs(chart, "model dot small")) == len(discs(chart, "other ring small")) == 1
    assert "correlation (spearman) +0.20" in chart.summary
    assert length_chart(LengthFigures(points=tuple(points[:1]))) is None


def test_answers_of_one_length_are_not_said_to_be_of_two() -> None:
    def summary(*lengths: int) -> str:
        chart = length_chart(LengthFigures(spearman=0.0, points=tuple((length, 0.5, 1) for length in lengths)))
        return assert_drawn(chart).summary.partition(":")[0]

    assert summary(20, 20) == "Reward against length of 2 answers of 20 characters"
    assert summary(1, 1) == "Reward against length of 2 answers of 1 character"
    assert summary(20, 30) == "Reward against length of 2 answers of 20 to 30 characters"


def test_a_learning_curve_wants_two_points_and_is_drawn_from_the_fewest_pairs() -> None:
    points = [CurvePoint(num_pairs=pairs, accuracy=0.6, interval=(0.5, 0.7)) for pairs in (60, 30, 31, 30)]

    chart = assert_drawn(learning_chart(points, JudgedFigures(longer_wins=0.55)))

    assert [cells[0] for cells in chart.rows] == ["30", "30", "31", "60"]
    assert learning_chart(points[:1], JudgedFigures()) is None
    assert_drawn(learning_chart([points[1], points[3]], JudgedFigures()))


def test_a_share_without_a_value_is_an_empty_line() -> None:
    assert [mark.tag for mark in strip(Share(), "rule dot")] == ["line", "line"]
    assert [mark.tag for mark in strip(SHARE, "rule dot")] == ["line", "line", "line", "circle"]


@pytest.mark.parametrize("look", ["model ring", "people dot", "rule dot", "other ring"])
def test_an_interval_has_the_colour_of_its_mark(look: str) -> None:
    kind = str(strip(SHARE, look)[2].attributes["class"]).split()[0]
    assert re.search(rf"\.{kind}(\.interval)? {{ stroke:", CHART_STYLE.read_text(encoding="utf-8"))


def test_axes_have_a_few_round_values() -> None:
    assert accuracy_axis([0.6, None])[1] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert accuracy_axis([0.0, 1.0])[1] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(-2.3, 1.7) == [-2, -1, 0, 1]
    assert nice_ticks(0, 1e-323)  # rewards that hardly differ
    assert length_ticks(14, 52) == [20, 30, 40, 50]
    assert length_ticks(10, 1000) == [10, 20, 50, 100, 200, 500, 1000]
    for low, high in ((1, 10**15), (3, 3), (1, 2), (99, 101), (1, 9)):
        assert 1 <= len(length_ticks(low, high)) <= 8
