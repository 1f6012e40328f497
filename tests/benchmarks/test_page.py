import subprocess
from pathlib import Path

import pytest

from benchmarks.page import write_part
from benchmarks.row import Bar, Row

PAGE = "# Benchmarks\n\nBy hand.\n\n## As the bench wrote it\n\nThe bench writes this.\n"
ORDER = ["load", "light"]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "benchmarks.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_a_part_takes_the_place_of_its_last_run_and_nothing_else_changes(page: Path) -> None:
    write_part(page, "light", [Row("a round", 3.0, "cpu-s")], seconds=60, order=ORDER)
    write_part(page, "load", [Row("served", 370.0, "requests/s", 364.0, "label-studio-ml")], seconds=90, order=ORDER)
    before = page.read_text(encoding="utf-8")

    write_part(page, "light", [Row("a round", 2.0, "cpu-s", 8.0, "BASELINE", bar=Bar(0.2))], seconds=60, order=ORDER)

    text = page.read_text(encoding="utf-8")
    assert text.startswith(PAGE)
    assert text.index("### `load`") < text.index("### `light`")
    assert text.partition("### `light`")[0] == before.partition("### `light`")[0]
    assert "| served | 370 requests/s | 364 (label-studio-ml) | 1.02 | | |" in text
    assert "| a round | 2 cpu-s | 8 (BASELINE) | 0.25 | ratio at most 0.2 | no |" in text
    assert text.count("a round") == 1


@pytest.mark.parametrize(
    ("row", "is_met"),
    [
        (Row("", 2, "", 10, bar=Bar(0.2)), True),
        (Row("", 2, "", bar=Bar(0.2)), None),  # nothing to compare with
        (Row("", 1.7, "", 1, bar=Bar(1.7, is_most=False)), True),
        (Row("", 1.2, "", 1.4, bar=Bar(1.3, "value")), True),
        (Row("", -0.004, "", bar=Bar(-0.003, "value", is_most=False)), False),
        (Row("", 1, ""), None),
    ],
)
def test_a_bar_is_met_by_what_was_measured_alone(row: Row, is_met: bool | None) -> None:
    assert row.is_met is is_met


def test_a_bar_that_could_not_be_measured_is_said_to_be_so(page: Path) -> None:
    write_part(page, "light", [Row("a round", 2.0, "cpu-s", bar=Bar(0.2))], seconds=60, order=ORDER)

    assert "| a round | 2 cpu-s | | | ratio at most 0.2 | not measured |" in page.read_text(encoding="utf-8")


def test_what_is_written_by_hand_below_stays(page: Path) -> None:
    below = "\n## By hand, too\n\nText.\n"
    page.write_text(PAGE + below, encoding="utf-8")

    for value in (2.0, 3.0):
        write_part(page, "light", [Row("a round", value, "cpu-s")], seconds=60, order=ORDER)

    text = page.read_text(encoding="utf-8")
    assert text.endswith(below)
    assert text.index("| a round | 3 cpu-s |") < text.index(below)
    assert text.count("a round") == text.count("By hand, too") == 1


def test_a_build_that_was_changed_since_its_commit_is_said_to_be_so(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = tmp_path / "baseline"
    (baseline / "docs").mkdir(parents=True)
    (code, own) = baseline / "code.py", baseline / "docs" / "benchmarks.md"
    git = ["git", "-C", str(baseline), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for path in (code, own):
        path.write_text("", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setenv("BASELINE", str(baseline))

    def said() -> str:
        write_part(page, "light", [Row("a round", 2.0, "cpu-s")], seconds=60, order=ORDER)
        return page.read_text(encoding="utf-8").partition("beside build ")[2].partition(", which")[0]

    commit = said()
    own.write_text("The bench wrote this.", encoding="utf-8")
    assert said() == commit != baseline.name
    code.write_text("changed = True", encoding="utf-8")
    assert said() == f"{commit} with changes"
