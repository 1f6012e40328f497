"""The report card's charts as SVG files beside README.md, whose bytes depend on the figures alone."""

from dataclasses import dataclass
from pathlib import Path

from preference.report_card.card import ReportCard
from preference.report_card.charts import charts_of
from preference.report_card.svg_document import svg_document


@dataclass(frozen=True)
class Picture:
    """A file in the version's folder, and what it shows."""

    file: str
    title: str


def draw_pictures(card: ReportCard, folder: Path) -> list[Picture]:
    """Writes the charts of a card into the existing `folder`; without data for one, it is not drawn."""
    drawn = []
    for chart in charts_of(card):
        path = folder / f"{chart.name}.svg"
        path.write_text(svg_document(chart), encoding="utf-8")
        drawn.append(Picture(path.name, chart.title))
    return drawn
