"""A chart as a picture of its own: an SVG document with title, sentence and legend, in light and in dark.

Its style is that of charts.css, with the colours written out, since not every program that shows SVG knows CSS variables.
"""

import re
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path
from textwrap import wrap

from preference.report_card.charts import Chart
from preference.report_card.svg import HEIGHT, SvgElement, legend_mark

CHART_STYLE = Path(__file__).parent / "charts.css"
_WIDTH, _MARGIN, _LINE = 720, 20, 17  # pixels
_LETTERS = 104  # of a line of the sentence
_LETTER_WIDTH = 6.6  # pixels, of a legend's, on average
_COLOR = re.compile(r"--([\w-]+): (#\w+);")
_PAGE = """
svg { background: var(--card); font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.title { fill: var(--ink); font-size: 15px; font-weight: 600; }
.words { fill: var(--soft); font-size: 12px; }
"""


def svg_document(chart: Chart) -> str:
    """The chart as the text of an SVG file."""
    top = _MARGIN + 14
    texts = [SvgElement("text", {"class": "title", "x": _MARGIN, "y": top}, chart.title)]
    for line in wrap(chart.summary, _LETTERS):
        top += _LINE
        texts.append(SvgElement("text", {"class": "words", "x": _MARGIN, "y": top}, line))
    legend, bottom = _legend(chart, top + _LINE + HEIGHT + 16)
    width = _WIDTH - 2 * _MARGIN
    return f"""<?xml version="1.0" encoding="utf-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom}" viewBox="0 0 {_WIDTH} {bottom}" role="img" aria-label="{escape(f"{chart.title}: {chart.summary}")}">
<style>{escape(_style())}</style>
<rect class="paper" width="100%" height="100%"/>
{_drawn(texts)}
<svg class="chart" x="{_MARGIN}" y="{top + _LINE}" width="{width}" height="{HEIGHT}" overflow="visible">
<svg viewBox="0 0 100 {HEIGHT}" width="100%" height="{HEIGHT}" preserveAspectRatio="none">
{_drawn(chart.shapes)}
</svg>
{_drawn(chart.marks)}
</svg>
{_drawn(legend)}
</svg>
"""


def _legend(chart: Chart, top: int) -> tuple[list[SvgElement], int]:
    """The marks and words of the legend in lines from `top` on, and the height of the whole picture."""
    elements: list[SvgElement] = []
    left: float = _MARGIN
    for look, words in chart.legend:
        width = 27 + _LETTER_WIDTH * len(words)
        if left > _MARGIN and left + width > _WIDTH - _MARGIN:
            left, top = _MARGIN, top + _LINE
        elements.append(legend_mark(look, left, top))
        elements.append(SvgElement("text", {"class": "words", "x": round(left + 27, 1), "y": top + 4}, words))
        left += width + 18
    return elements, top + _MARGIN


def _drawn(elements: Iterable[SvgElement]) -> str:
    return "\n".join(_tag(element) for element in elements)


def _tag(element: SvgElement) -> str:
    attributes = "".join(f' {name}="{escape(str(value))}"' for name, value in element.attributes.items())
    return f"<{element.tag}{attributes}>{escape(element.text)}</{element.tag}>"


@cache
def _style() -> str:
    """The rules in light colours, and again in dark ones for who prefers them."""
    palettes, _, rules = CHART_STYLE.read_text(encoding="utf-8").partition("/* rules */")
    light, _, dark = palettes.partition("@media")
    rules = f"{_PAGE}.paper {{ fill: var(--card); }}{rules}"
    return f"{_colored(rules, light)}@media (prefers-color-scheme: dark) {{\n{_colored(rules, dark)}}}\n"


def _colored(rules: str, palette: str) -> str:
    colors = dict(_COLOR.findall(palette))
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colors[match[1]], rules)
