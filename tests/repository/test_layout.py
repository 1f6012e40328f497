"""How the tree is laid out: every rule with a tree that breaks it."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.layout import (
    between_folders,
    circle_in,
    full_folders,
    importers_of_tests,
    imports_between,
    logger_names,
    long_files,
    of_packages,
    rooms_without_tests,
    strays,
)

MOST_MODULES = 15
MOST_LINES_OF_TESTS = 400

# Test files that hold a promise which several modules of their room keep together.
SUBJECTS = {
    "backend/commands": {"connect_command", "interruptions", "light_commands", "other_label_configs", "output"},
    "backend/connecting": {"disconnect"},
    "backend/contract": {"fuzz"},
    "backend/dashboard": {"damaged_cards", "damaged_files", "files_read"},
    "backend/filling": {"generator_versions", "more_candidates", "several_projects", "unanswerable_tasks", "unstorable_answers", "whole_answers"},
    "backend/generators": {"openai_failures", "openai_real_server", "thinking"},
    "backend/importing": {"faults_importing"},
    "backend/scoring": {"new_version"},
    "backend/serving": {"predict", "seats"},
    "backend/web": {"refusals"},
    "preference": {"damaged_files", "full_disk", "untrusted_files"},
    "preference/commands": {"damaged_files", "generators", "status", "train", "versions"},
    "preference/labelling": {"holdout", "majority"},
    "preference/models": {"architectures", "control_tokens"},
    "trainer/judgements": {"changes_meanwhile"},
    "trainer/reporting": {"picture_files"},
}  # fmt: skip

# An operator's filters name them, so a module that moves keeps the name that it has.
LOGGERS = {
    f"pairloop.{name}"
    for name in (
        "aligning", "backend", "daemon", "doctor", "filling", "generators", "importing", "judgements", "logs", "models", "monitoring",
        "projects", "rating", "reporting", "reward_model", "rounds", "scoring", "serving", "studio", "training", "web",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Every source of the product, of its tests and of what stands beside them, by path."""
    folders = ("preference", "backend", "trainer", "tests", "demo", "benchmarks")
    paths = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return {path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_no_link_is_committed() -> None:
    """It leads somewhere on one machine only: an environment that one shares between checkouts, say."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout of git")

    assert [line.split("\t")[1] for line in listed.stdout.splitlines() if line.startswith("120000")] == []


def test_there_are_sources_to_judge(sources: dict[str, str]) -> None:
    assert {"preference/settings.py", "backend/__main__.py", "tests/repository/test_layout.py"} <= sources.keys()
    assert Path(__file__).read_text(encoding="utf-8") in sources.values()


def test_no_folder_holds_more_modules_than_a_reader_keeps_in_mind(sources: dict[str, str]) -> None:
    assert full_folders(of_packages(sources), most=MOST_MODULES) == []

    assert full_folders([f"backend/web/{n}.py" for n in range(16)], most=MOST_MODULES) == ["backend/web"]


def test_no_file_of_tests_is_longer_than_a_subject(sources: dict[str, str]) -> None:
    assert long_files({path: text for path, text in sources.items() if path.startswith("tests/")}, most=MOST_LINES_OF_TESTS) == []

    assert long_files({"tests/test_a.py": "\n" * 401, "tests/test_b.py": "\n" * 400}, most=MOST_LINES_OF_TESTS) == [
        "tests/test_a.py"
    ]


def test_nothing_imports_from_a_test_file(sources: dict[str, str]) -> None:
    assert importers_of_tests(sources) == []

    late = "def begin():\n    from tests.backend.test_app import client"
    assert importers_of_tests({"a.py": late, "b.py": "import tests.test_app", "c.py": "from tests import support"}) == [
        "a.py",
        "b.py",
    ]


def test_every_room_has_its_tests(sources: dict[str, str]) -> None:
    assert rooms_without_tests(sources) == []

    assert rooms_without_tests({"backend/web/app.py": "", "backend/__init__.py": "", "tests/backend/test_web.py": ""}) == [
        "backend/web"
    ]


def test_a_test_file_has_the_name_of_its_module_or_of_a_subject_of_the_room(sources: dict[str, str]) -> None:
    assert strays(sources, SUBJECTS) == []
    here = {path for path in sources if path.startswith("tests/")}
    assert [f"{room}: {s}" for room, names in SUBJECTS.items() for s in names if f"tests/{room}/test_{s}.py" not in here] == []

    names = ("app", "app_in_chunks", "main", "application", "door")
    tree = {
        "backend/web/app.py": "",
        "backend/web/__main__.py": "",
        **{f"tests/backend/web/test_{name}.py": "" for name in names},
    }
    assert strays(tree, {"backend/web": {"door"}}) == ["tests/backend/web/test_application.py"]
    assert strays({"backend/web/app.py": "", "tests/backend/test_app.py": ""}, {}) == ["tests/backend/test_app.py"]


def test_files_import_each_other_in_no_circle(sources: dict[str, str]) -> None:
    imports = imports_between(of_packages(sources))
    assert "preference/errors.py" in imports["preference/studio/calls.py"]
    assert circle_in(imports) == []

    late = "def begin():\n    from backend.web import door"
    circle = circle_in(imports_between({"backend/web/app.py": late, "backend/web/door.py": "import backend.web.app"}))
    assert set(circle) == {"backend/web/app.py", "backend/web/door.py"}


def test_folders_import_each_other_in_no_circle(sources: dict[str, str]) -> None:
    imports = between_folders(imports_between(of_packages(sources)))
    assert "preference/studio" in imports["preference/projects"] | imports["backend/filling"]
    assert circle_in(imports) == []

    tree = {
        "backend/web/app.py": "import backend.filling.filler",
        "backend/web/door.py": "",
        "backend/filling/filler.py": "",
        "backend/filling/rules.py": "def begin():\n    import backend.web.door",
    }
    assert circle_in(imports_between(tree)) == []
    assert set(circle_in(between_folders(imports_between(tree)))) == {"backend/web", "backend/filling"}


def test_loggers_keep_their_names_wherever_their_module_moves(sources: dict[str, str]) -> None:
    by_path = logger_names(of_packages(sources))
    of_libraries = {"preference/logs.py": {""}, "trainer/daemon/schedule.py": {"apscheduler"}}
    ours = {name for path, names in by_path.items() for name in names - of_libraries.get(path, set())}
    assert ours == LOGGERS

    tree = {"a.py": "import logging\nlogger = logging.getLogger(__name__)", "b.py": "logging.getLogger('pairloop.web')"}
    assert logger_names(tree) == {"a.py": {""}, "b.py": {"pairloop.web"}}
