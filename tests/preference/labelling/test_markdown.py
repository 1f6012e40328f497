import re

import pytest

from preference.labelling.markdown import inert_html

ANSWER = """# Files

Here is **how**, in `code <b>`:
next line

| tool | cost |
|------|-----:|
| `ls` | <i>0</i> |

```python
def greet():

    return "<script>"
```

1. one
   - nested
"""
HOSTILE = [
    "<script>alert(1)</script>", '<iframe srcdoc="<script>alert(1)</script>"></iframe>', "<style>body { display: none }</style>",
    '<img src=x onerror="alert(1)">', "![picture](http://evil.example/track.png)", "![][1]\n\n[1]: http://evil.example/track.png",
    "[click](javascript:alert(1))", "[click](http://evil.example)", "<http://evil.example>", "<a\nhref='x'>", "<!-- x -->", "<?php x ?>",
    "<![CDATA[<b>]]>", "&lt;script&gt;", "&#60;script&#62;", "&#10;&#10;![x](http://evil.example)", "&#13;&#13;<b>", "```<b>\n<b>\n```",
    '```" onclick="x\na\n```', "a\n\n    <b>", "| a |\n|---|\n| <b> |", "<div>\n\n**a**\n\n</div>", "\u2028<b>\x0b<b>\x0c<b>",
    '[a](http://e "><b>")', "\\<b>", "<b",
]  # fmt: skip
TAGS = {
    "div", "h1", "h2", "h3", "h4", "h5", "h6", "p", "strong", "em", "code", "pre", "ol", "ul", "li", "table", "thead", "tbody", "tr", "th",
    "td", "br", "hr", "blockquote", "s", "u",
}  # fmt: skip


def test_an_answer_is_laid_out() -> None:
    html = inert_html(ANSWER)

    for piece in (
        "<h1>Files</h1>", "<strong>how</strong>, in <code>code &lt;b&gt;</code>:<br />", "<th>tool</th>", "<td><code>ls</code></td>",
        '<td style="text-align:right">&lt;i&gt;0&lt;/i&gt;</td>',
        '<pre><code class="language-python">def greet():&#10;&#10;    return &quot;&lt;script&gt;&quot;&#10;</code></pre>',
        "<li>nested</li>",
    ):  # fmt: skip
        assert piece in html


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_an_answer_acts_loads_or_leads_anywhere(text: str) -> None:
    for around in ("{}", "before {} behind", "> - {}", "**{}**"):
        html = inert_html(around.format(text))

        assert (
            html.startswith("<div>")
            and html.endswith("</div>")
            and len(html.splitlines()) == 1 + len(re.findall("[\x0b\x0c\u2028]", html))
        )
        assert {name.lower() for name in re.findall(r"</?([^\s/>]*)", html)} <= TAGS
        attributes = [each for tag in re.findall(r"<([^>]*)>", html) for each in re.findall(r"\s(\w+)=", tag)]
        assert set(attributes) <= {"class", "style", "start"}


def test_links_keep_their_address_as_text() -> None:
    assert inert_html("See [the *docs*](http://a.example/?b=1&c=2).") == (
        "<div><p>See <u>the <em>docs</em></u> (http://a.example/?b=1&amp;c=2).</p>&#10;</div>"
    )
    assert inert_html("<http://a.example>") == "<div><p><u>http://a.example</u></p>&#10;</div>"


def test_what_is_too_much_is_left_as_it_is() -> None:
    assert inert_html(None) == inert_html("") == inert_html(" \n") == inert_html("a" * 20_001) == ""
    assert inert_html("|a" * 3000 + "|\n" + "|-" * 3000 + "|\n" + "|\n" * 2000) == "", "a table of a million cells"
