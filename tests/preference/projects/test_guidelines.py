"""Which version of the guidelines stood when, as both processes note it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from preference.errors import RegistryError
from preference.labelling.pairs import PreferencePair
from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import Guidelines, note_instruction, version_of
from preference.projects.status import read_overview
from tests.support.statuses import status_of

FIRST, SECOND = "<p>Be helpful.</p>", "<p>Be harmless.</p>"


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path, 7)


def day(number: int) -> float:
    """Seconds since 1970, at noon of a day of November 2026."""
    return datetime(2026, 11, number, 12, tzinfo=UTC).timestamp()


def judged_on(number: int) -> str:
    return f"2026-11-{number:02}T15:00:00.123456Z"


def test_a_judgement_has_the_version_that_stood_when_it_was_made(folder: ProjectFolder) -> None:
    note_instruction(folder, "", now=day(1))
    note_instruction(folder, FIRST, now=day(3), by="connect")
    known = note_instruction(folder, SECOND, now=day(5))

    versions = [known.at(judged_on(number)) for number in (1, 2, 3, 4, 5, 6)]

    assert versions == [None, None, *[version_of(FIRST)] * 2, *[version_of(SECOND)] * 2]
    assert known.at("2026-11-03T12:30:00+01:00") is None and known.at("2026-11-03T13:30:00+01:00") == version_of(FIRST)
    assert (known.at(None), known.at("yesterday"), known.at("2026-11-06")) == (None, None, version_of(SECOND))
    assert Guidelines.read(folder) == known
    assert [each.instruction for each in known.versions] == ["", FIRST, SECOND], "what a version said can be looked up"


def test_pairs_learn_the_version_of_their_judgement(folder: ProjectFolder) -> None:
    note_instruction(folder, FIRST, now=day(1))
    known = note_instruction(folder, SECOND, now=day(5))
    pairs = [PreferencePair("p", "a", "b", judged_at=judged_at) for judged_at in (judged_on(2), judged_on(6), None)]

    assert [pair.guidelines for pair in known.of(pairs)] == [version_of(FIRST), version_of(SECOND), None]
    assert [pair.guidelines for pair in Guidelines().of(pairs)] == [None] * 3


def test_what_stood_at_the_first_look_has_always_stood(folder: ProjectFolder) -> None:
    known = note_instruction(folder, FIRST, now=day(4))

    assert known.at(judged_on(1)) == version_of(FIRST)


def test_the_same_text_is_noted_once_and_again_if_it_comes_back(folder: ProjectFolder) -> None:
    for number, instruction in enumerate((FIRST, FIRST, SECOND, SECOND, FIRST, None, "", " <p> </p>"), start=1):
        known = note_instruction(folder, instruction, now=day(number))

    assert [each.version for each in known.versions] == [version_of(FIRST), version_of(SECOND), version_of(FIRST), ""]
    assert known.at(judged_on(5)) == version_of(FIRST) and known.at(judged_on(9)) is None


def test_what_connect_set_is_not_taken_for_an_edit_by_hand_if_the_trainer_saw_it_first(folder: ProjectFolder) -> None:
    note_instruction(folder, None, now=day(1))
    note_instruction(folder, FIRST, now=day(2))
    known = note_instruction(folder, FIRST, now=day(3), by="connect")
    assert known == note_instruction(folder, FIRST, now=day(4))

    assert [(each.version, each.by) for each in known.versions] == [("", "hand"), (version_of(FIRST), "connect")]
    assert known.at(judged_on(2)) == version_of(FIRST), "since the trainer saw it"


def test_an_edit_by_hand_is_said(folder: ProjectFolder) -> None:
    first, second = version_of(FIRST), version_of(SECOND)
    assert Guidelines().in_words("") == "" and Guidelines().in_words(first) == f"version {first}"
    assert note_instruction(folder, FIRST, now=day(1)).in_words(first) == f"version {first}", "nobody ran connect --guidelines"
    known = note_instruction(folder, FIRST, now=day(2), by="connect")

    assert known.in_words(first) == f"version {first}"
    assert known.in_words(second) == f"version {second}, edited in Label Studio after connect --guidelines set version {first}"
    assert known.in_words("") == f"none, emptied in Label Studio after connect --guidelines set version {first}"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('<h1 id="a">Say &quot;no&quot;</h1>\n<hr />', '<h1>Say "no"</h1>\n<hr>'),
        ('<ol start="3">\n<li value="3">Three</li>\n</ol>', '<ol> <li value="3">Three</li></ol>'),
        ('<td style="text-align:right">©</td>', "<td>&copy;</td>"),
    ],
)
def test_html_that_label_studio_writes_otherwise_is_the_same_version(sent: str, stored: str) -> None:
    assert version_of(sent) == version_of(stored)


@pytest.mark.parametrize(
    "other",
    ["<p>Be  useful.</p>", "<h1>Be helpful.</h1>", "<p>Be <b>helpful</b>.</p>", '<p>Be <a href="http://x">helpful</a>.</p>'],
)
def test_other_words_another_layout_and_another_link_are_other_versions(other: str) -> None:
    assert version_of(other) != version_of(FIRST) == version_of("<p>Be\nhelpful.</p>\n")


def test_a_picture_alone_says_something() -> None:
    assert version_of('<img src="https://a.example/b.png">') and not version_of("<p><br></p>")


@pytest.mark.parametrize(
    "content", ["", "{", '{"versions": 5}', '{"versions": [{"since": "noon"}]}', '{"versions": [{"since": "2026-11-01"}]}']
)
def test_a_damaged_file_is_named_and_left_as_it_is(folder: ProjectFolder, content: str) -> None:
    folder.create()
    path = folder.path / "guidelines.json"
    path.write_text(content)

    with pytest.raises(RegistryError, match=r"guidelines.json cannot be read .* restore it, or remove it"):
        note_instruction(folder, FIRST, now=day(1))

    assert path.read_text() == content
    (problem,) = status_of(folder).with_versions().problems
    assert problem.startswith(f"{path} cannot be read (ValidationError)")
    assert read_overview(folder.path.parent.parent).problems == (), "it keeps nobody from work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(folder: ProjectFolder) -> None:
    note_instruction(folder, FIRST, now=day(1))
    (folder.path / "guidelines.json").chmod(0)

    with pytest.raises(RegistryError, match=r"guidelines.json cannot be read \(PermissionError\)"):
        Guidelines.read(folder)


def test_a_style_sheet_says_nothing() -> None:
    styled = "<style>p { margin: 0 }</style>"
    assert version_of(f"{styled}<p>a</p>") == version_of("<style>p { margin: 1em }</style><p>a</p>") and not version_of(styled)
