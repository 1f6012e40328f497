"""What doctor says of a sound installation, what it changes, and how it is printed."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from backend.doctor.check import Check, CheckFailed, Finding, run_checks
from backend.doctor.examine import examine, print_findings
from preference.projects.versions import UNTRAINED
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_a_sound_installation_has_no_cross_and_nothing_is_skipped(clinic: Clinic) -> None:
    rows = clinic.doctor()

    assert [name for name, row in rows.items() if not row["ok"]] == []
    assert list(rows) == [
        "settings", "Label Studio", "clock", "key", "address", "backend", "backend access", "backend problems", "MODEL_DIR",
        "trainer", "device", "generator", "reward base", "reward model", "rights", "label config", "verdict", "guidelines", "connection", "webhook", "setup", "shared MODEL_DIR",
        "overlap", "ground truth", "repeats", "weights", "slices", "sampling", "champion", "versions", "predictions", "prediction format",
    ]  # fmt: skip
    assert rows["Label Studio"]["found"] == f"1.23.2 Community at {clinic.studio.url}"
    assert rows["key"]["found"] == "a legacy token of admin@example.com"
    assert rows["versions"]["found"] == f"{UNTRAINED} everywhere"


def test_it_changes_nothing_that_label_studio_holds(clinic: Clinic) -> None:
    before = json.dumps([clinic.studio.projects, clinic.row, clinic.hook], default=str, sort_keys=True)
    clinic.studio.requests.clear()

    assert clinic.is_well()

    writes = [request for request in clinic.studio.requests if not request.startswith("GET ")]
    assert writes == [f"PATCH /api/projects/{clinic.id}/"], "one that changes no field, to learn whether it would be allowed"
    assert json.dumps([clinic.studio.projects, clinic.row, clinic.hook], default=str, sort_keys=True) == before
    assert clinic.folder.read_host() == f"127.0.0.1:{clinic.port}"


# How it is printed


def test_in_a_pipe_each_check_is_a_line_and_each_cross_has_its_fix_below(clinic: Clinic) -> None:
    clinic.hook["headers"] = {}

    lines = clinic.run("doctor", "--project", clinic.id).output.splitlines()

    place = next(place for place, line in enumerate(lines) if line.startswith("✗"))
    assert lines[place].split(maxsplit=2) == ["✗", "webhook", "the webhook does not send WEBHOOK_SECRET"]
    assert lines[place + 1].strip() == f"-> pairloop-backend connect --project {clinic.id}"
    assert lines[-1] == "32 checks: 31 well, 1 wrong, 0 skipped"
    assert not any("\x1b" in line for line in lines)


def test_without_a_project_all_that_are_known_are_looked_at(clinic: Clinic) -> None:
    other = clinic.studio.add_project(title="Another")
    assert clinic.run("connect", "--project", other).exit_code == 0
    clinic.studio.projects[other]["sampling"] = "Sequential sampling"

    result = clinic.run("doctor")

    assert result.exit_code == 1
    assert f"✓ project {clinic.id}: sampling" in result.output and f"✗ project {other}: sampling" in result.output
    assert clinic.run("disconnect", "--project", other).exit_code == 0
    assert clinic.run("doctor").exit_code == 0


def test_without_a_known_project_doctor_says_so(clinic: Clinic) -> None:
    assert clinic.run("disconnect", "--project", clinic.id).exit_code == 0

    result = clinic.run("doctor")

    assert result.exit_code == 0
    assert "skipped: MODEL_DIR knows no project; name one with --project" in result.output


def test_on_a_terminal_the_signs_have_colours_and_text_wraps_in_its_column() -> None:
    console = Console(force_terminal=True, width=60, highlight=False, record=True, file=StringIO())
    print_findings([Finding("webhook", False, "word " * 30, "type this"), Finding("clock", True, "fine")], console)
    styled = console.export_text(styles=True, clear=False)
    plain = console.export_text().splitlines()

    assert "\x1b[1;31m✗" in styled and "\x1b[32m✓" in styled
    assert all(len(line) <= 60 for line in plain)
    assert [line.index("word") for line in plain if "word" in line] == [plain[0].index("word")] * 4


def test_a_check_that_fails_itself_is_a_cross_and_the_others_go_on() -> None:
    def fails(_: None) -> str:
        raise ZeroDivisionError("of its own")

    def is_amiss(_: None) -> str:
        raise CheckFailed("wrong", "right it")

    checks = [Check("first", fails), Check("second", is_amiss, needs=["earlier"]), Check("third", is_amiss), Check("fourth", fails, needs=["third"])]  # fmt: skip

    findings = list(run_checks(checks, None, before=[Finding("earlier", True, "")]))

    assert findings == [
        Finding("first", False, "the check itself failed (ZeroDivisionError: of its own)", "report this line"),
        Finding("second", False, "wrong", "right it"),
        Finding("third", False, "wrong", "right it"),
        Finding("fourth", None, "skipped: it needs what `third` looks at"),
    ]


def test_each_finding_is_given_as_soon_as_it_is_there(clinic: Clinic) -> None:
    first = next(examine(environ=clinic.environ))

    assert first == Finding("settings", True, "all are valid")
