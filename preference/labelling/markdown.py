"""Markdown laid out as HTML: answers for a <Markdown> tag of Label Studio's editor.

Read off label-studio 1.23.2: that tag knows no tables, and hands the HTML of its text to the page as it is, so that
<iframe srcdoc="..."> in an answer runs as the annotator, and <style> and <meta> rule the page. So it is not given the answer, but
what markdown-it makes of it, in a field beside it: the answer's own HTML is text there, and nothing of it leads anywhere. It stands
on one line, because in Markdown an empty line ends a block of HTML.

Covered: CommonMark, tables, struck text; a line break is one, as in <Text>. Links are text, with their address; so are pictures.
Not covered: mathematics; a field like `answers[0]`, beside which no other has a name; an answer of more than 20,000 characters,
which is shown as it was written.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

    from preference.labelling.config_tags import ConfigTag

_SUFFIX = "_html"
_MOST_CHARACTERS = 20_000
_MOST_WRITTEN = 200_000  # a table may grow


def formatted_fields(tags: Iterable["ConfigTag"], answer_fields: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each answer's field whose layout the label config shows, with the field that holds that: `answer1` and `answer1_html`."""
    shown = {tag.get("value", "") for tag in tags if tag.tag == "Markdown"}
    return tuple((field, field + _SUFFIX) for field in answer_fields if f"${field}{_SUFFIX}" in shown)


def inert_html(markdown: str | None) -> str:
    """The text laid out, without anything that could act, on one line; empty if there is none, or too much."""
    if not markdown or markdown.isspace() or len(markdown) > _MOST_CHARACTERS:
        return ""
    written = re.sub(r"[\r\n]", lambda end: f"&#{ord(end.group())};", _inert().render(markdown))
    return f"<div>{written}</div>" if len(written) <= _MOST_WRITTEN else ""


def _linked() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # in the backend alone, when it lays out its first text

    return MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])


@cache
def _inert() -> "MarkdownIt":
    parser = _linked().disable("image")
    parser.add_render_rule("link_open", lambda *_: "<u>")
    parser.add_render_rule("link_close", _end_of_link)
    return parser


def _end_of_link(
    _renderer: Any, tokens: Sequence["Token"], place: int, _options: Mapping[str, Any], _env: Mapping[str, Any]
) -> str:
    """The end of a link, and its address if that is not what is shown."""
    from markdown_it.common.utils import escapeHtml

    start = next(i for i in range(place, -1, -1) if tokens[i].type == "link_open" and tokens[i].level == tokens[place].level)
    address, shown = str(tokens[start].attrs.get("href", "")), "".join(token.content for token in tokens[start + 1 : place])
    return "</u>" if address in (shown, f"mailto:{shown}") or not address else f"</u> ({escapeHtml(address)})"
