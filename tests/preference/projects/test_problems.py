import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import pytest
from filelock import FileLock

from preference.projects.folder import ProjectFolder
from preference.projects.problems import Process, ProjectProblems, read_problems
from preference.projects.status import read_overview

logger = logging.getLogger("pairloop.filling")


@pytest.fixture(autouse=True)
def working(tmp_path: Path) -> Iterator[ExitStack]:
    """A filler and a trainer that work, until this is closed."""
    with ExitStack() as working:
        for process in get_args(Process):
            working.enter_context(FileLock(tmp_path / f"{process}.lock"))
        yield working


def filler(model_dir: Path) -> ProjectProblems:
    """Those of a new process."""
    return ProjectProblems(model_dir, "filler", logger)


def test_a_problem_is_logged_once_while_it_stays_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    problems = filler(tmp_path)

    for problem in ("no room", "no room", "no rights", "", "no rights"):
        problems.note(7, "pass", problem)
        problems.note(8, "pass")

    assert caplog.messages == ["project 7: no room", "project 7: no rights", "project 7: no rights"]


def test_each_part_of_a_projects_work_has_its_own_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    problems = filler(tmp_path)
    for _ in range(2):
        problems.note(7, "requests", "no rights")
        problems.note(7, "pass", "no answer")

    assert read_problems(tmp_path) == {7: ["no rights", "no answer"]}
    assert len(caplog.messages) == 2
    problems.note(7, "requests")
    assert read_problems(tmp_path) == {7: ["no answer"]}


def test_every_process_reads_what_each_noted_and_the_next_one_forgets_what_is_over(tmp_path: Path) -> None:
    filler(tmp_path).note(7, "pass", "no answer")
    ProjectProblems(tmp_path, "trainer", logger).note(7, "look", "no rights")
    assert read_problems(tmp_path) == {7: ["no answer", "no rights"]}

    filler(tmp_path).note(7, "pass")

    assert read_problems(tmp_path) == {7: ["no rights"]}


@pytest.mark.parametrize("process", get_args(Process))
def test_what_a_process_noted_that_has_ended_is_no_problem_any_more(process: Process, working: ExitStack, tmp_path: Path) -> None:
    ProjectFolder(tmp_path, 7).create()
    ProjectProblems(tmp_path, process, logger).note(7, "look", "no rights")
    assert read_overview(tmp_path).problems == ("Project 7: no rights.",)

    working.close()

    assert read_overview(tmp_path).problems == ()


def test_a_process_that_works_again_forgets_what_another_one_kept_meanwhile(tmp_path: Path) -> None:
    first, second = filler(tmp_path), filler(tmp_path)
    first.note(7, "pass", "no answer")
    second.note(7, "pass")
    second.note(8, "pass", "no rights")

    first.begin_anew()
    first.note(8, "pass")

    assert read_problems(tmp_path) == {}


def test_while_all_is_well_no_file_is_made(tmp_path: Path) -> None:
    filler(tmp_path).note(7, "pass")

    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    "content", ["", "{half", "[]", '{"problems": 5}', '{"problems": {"x": ["?"], "7": "?", "8": ["known", 5]}}']
)
def test_a_damaged_file_says_what_can_be_read_of_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "problems_filler.json").write_text(content, encoding="utf-8")

    assert {number: problems for number, problems in read_problems(tmp_path).items() if problems} in ({}, {8: ["known"]})
    filler(tmp_path).note(7, "pass", "no room")
    assert read_problems(tmp_path) == {7: ["no room"]}


def test_a_file_that_cannot_be_written_is_written_as_soon_as_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "problems_filler.json"
    (blocked / "inside").mkdir(parents=True)
    problems = filler(tmp_path)
    problems.note(7, "pass", "no room")
    assert (read_problems(tmp_path), caplog.messages) == ({}, ["project 7: no room"])

    (blocked / "inside").rmdir()
    blocked.rmdir()
    problems.note(7, "pass", "no room")

    assert (read_problems(tmp_path), len(caplog.messages)) == ({7: ["no room"]}, 1)


def test_the_status_of_a_project_has_what_was_noted_of_it(tmp_path: Path) -> None:
    for project_id in (7, 8):
        ProjectFolder(tmp_path, project_id).create()
    filler(tmp_path).note(7, "pass", "Label Studio refuses it.")
    filler(tmp_path / "elsewhere").note(8, "pass", "of another folder")

    overview = read_overview(tmp_path)

    assert overview.problems == ("Project 7: Label Studio refuses it.",)
    assert [status.problems for status in overview.projects] == [("Label Studio refuses it",), ()]
