"""Guidelines in Markdown, as Label Studio's instruction."""

import pytest

from backend.connecting.guidelines import instruction_of, set_guidelines
from preference.projects.guidelines import Guidelines, version_of
from tests.support.connecting_house import House

TEXT = "# What counts\n\n1. Is it **true**?\n2. Is it *kind*?\n"


def put(house: House, text: str, *, now: float = 1_790_000_000.0) -> list[str]:
    instruction = instruction_of(text)
    return list(set_guidelines(house.project, house.folder, instruction, state=house.project.read(), clock=lambda: now))


def test_markdown_becomes_html() -> None:
    html = instruction_of(TEXT + "\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nif a < b:\n    pass\n```\n")

    assert "<h1>What counts</h1>" in html and "<li>Is it <strong>true</strong>?</li>" in html
    assert "<td>2</td>" in html and "if a &lt; b:\n    pass\n" in html


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "a <b onclick=alert(1)>b</b>",
        '<iframe src="https://a.example"></iframe>',
        "<!-- for the authors -->",
        "<style>* { display: none }</style>",
        "[a](javascript:alert(1))",
        "[a]( JAVASCRIPT:alert(1))",
        "![a](data:image/svg+xml,x)",
        "[a](examples.md)",
        "<vbscript:x>",
        "[a][b]\n\n[b]: file:///etc/passwd",
        '`"><script>`',
        '```"><script>\nx\n```',
    ],
)
def test_no_html_of_the_text_becomes_any_and_links_lead_to_the_web_or_nowhere(source: str) -> None:
    html = instruction_of(source)

    for word in ("<script", "<b ", "<iframe", "<!--", "<style>*", "<style> *", 'href="', 'src="', "<img"):
        assert word not in html, html


def test_links_and_pictures_of_the_web_stay() -> None:
    html = instruction_of("[a](https://a.example/?b=1&c) <mailto:ada@a.example> ![cat](http://a.example/cat.png)")

    assert '<a href="https://a.example/?b=1&amp;c">a</a>' in html and '<a href="mailto:ada@a.example">' in html
    assert '<img src="http://a.example/cat.png" alt="cat">' in html


def test_a_list_that_goes_on_keeps_its_numbers() -> None:
    assert '<li value="2">' in instruction_of("1. one\n\nIn between.\n\n2. two")


def test_the_instruction_is_set_and_shown_and_its_version_noted(house: House) -> None:
    version = version_of(instruction_of(TEXT))

    assert put(house, TEXT) == [f"set the guidelines, version {version}"]

    project = house.studio.projects[house.id]
    assert project["expert_instruction"] == instruction_of(TEXT) and project["show_instruction"] is True
    known = Guidelines.read(house.folder)
    assert [(each.version, each.by) for each in known.versions] == [("", "hand"), (version, "connect")]
    assert (known.at("2026-09-21T12:00:00Z"), known.at("2026-09-22T12:00:00Z")) == (None, version)
    assert put(house, TEXT) == [], "there is nothing to do"


def test_what_stood_before_is_a_version_of_its_own(house: House) -> None:
    house.studio.projects[house.id].update(expert_instruction="By hand", show_instruction=True)

    put(house, TEXT)

    assert [each.version for each in Guidelines.read(house.folder).versions] == [
        version_of("By hand"),
        version_of(instruction_of(TEXT)),
    ]


def test_an_instruction_that_is_no_longer_shown_is_shown_again(house: House) -> None:
    put(house, TEXT)
    house.studio.projects[house.id]["show_instruction"] = False

    assert put(house, TEXT) == [f"set the guidelines, version {version_of(instruction_of(TEXT))}"]
    assert house.studio.projects[house.id]["show_instruction"] is True
    assert len(Guidelines.read(house.folder).versions) == 2


def test_an_edit_by_hand_gives_way_to_the_file(house: House) -> None:
    put(house, TEXT)
    house.studio.projects[house.id]["expert_instruction"] = "By hand"

    put(house, TEXT, now=1_790_100_000.0)

    version = version_of(instruction_of(TEXT))
    assert [each.version for each in Guidelines.read(house.folder).versions] == ["", version, version_of("By hand"), version]
    assert house.studio.projects[house.id]["expert_instruction"] == instruction_of(TEXT)
