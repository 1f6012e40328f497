"""Commands that people wait for load nothing heavy: torch and its like are for what computes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import REPOSITORY
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble

HEAVY = {"datasets", "matplotlib", "openai", "pandas", "scipy", "sklearn", "torch", "transformers", "trl"}
# Runs commands one after the other, which starts Python once; prints for each its status and which modules were loaded by it, and
# what was loaded by the end of the process.
_RUN = """
import atexit, json, sys
from importlib import import_module
from pathlib import Path

loaded, known = [], set()
def note(status):
    loaded.append([status, sorted(set(sys.modules) - known)])
    known.update(sys.modules)

@atexit.register
def end():
    note(0)
    Path(sys.argv[1]).write_text(json.dumps(loaded))

for program, *arguments in json.loads(sys.argv[2]):
    status = 0
    try:
        import_module(f"{program}.__main__").main(arguments)
    except SystemExit as ended:
        status = ended.code
    note(status)
"""
COMMANDS = [
    "backend doctor", "backend doctor --project {id}", "backend connect --project {id}", "backend connect --new Another",
    "backend import --help", "backend fill --help", "backend fill --project {id}", "backend --help",
    "backend status", "trainer status", "trainer versions",
    "trainer report --project {id}", "trainer export --project {id} --out {out}/pairs.jsonl",
    "trainer export --project {id} --format csv --out {out}/pairs.csv", "trainer --help",
]  # fmt: skip
Loaded = tuple[int, set[str]]


def run(clinic: Clinic, folder: Path, *commands: str) -> list[Loaded]:
    """For each command, run by one process, and for that process's end: the exit status, and the modules that were loaded for it."""
    output = folder / "loaded.json"
    lines = [command.format(id=clinic.id, out=folder).split() for command in commands]
    environ = {**os.environ, **clinic.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, str(output), json.dumps(lines)],
        env=environ, cwd=REPOSITORY, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    loaded = [(status, set(modules)) for status, modules in json.loads(output.read_text())]
    assert all(status in (0, 1) for status, _ in loaded), ended.stderr
    return loaded


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Loaded]]:
    """What each of COMMANDS loaded that those before it had not, and what was loaded at the end of their process."""
    folder = tmp_path_factory.mktemp("clinic")
    with StudioDouble() as studio, Clinic(studio, folder) as clinic:
        (task,) = studio.add_tasks(clinic.id, {"prompt": "Why?", "answer1": "So.", "answer2": "No."})
        region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}
        studio.annotate(task, [region])
        with FileLock(clinic.model_dir / "filler.lock"):  # as a backend that fills, which `fill` follows
            yield dict(zip([*COMMANDS, "the end"], run(clinic, folder, *COMMANDS), strict=True))


@pytest.mark.parametrize("command", [*COMMANDS, "the end"])
def test_a_command_that_computes_nothing_loads_nothing_heavy(loaded: dict[str, Loaded], command: str) -> None:
    _, modules = loaded[command]

    assert not modules & HEAVY


def test_what_a_command_loads_is_noticed(loaded: dict[str, Loaded]) -> None:
    assert {"backend", "click"} <= loaded["backend doctor"][1] and "trainer" in loaded["trainer status"][1]


def test_the_doctor_leaves_the_loading_of_a_served_champion_to_the_backend(tmp_path: Path, tiny_base: Path) -> None:
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        version = clinic.promote(tiny_base)
        clinic.serve_again()
        clinic.run("connect", "--project", clinic.id)

        assert not _loaded(clinic, tmp_path) & HEAVY
        assert clinic.doctor()["champion"]["found"] == f"{version} is whole: it scores its probe as its card says"

        clinic.end()  # nobody else has loaded it
        assert "torch" in _loaded(clinic, tmp_path)


def test_a_connect_loads_nothing_that_only_its_options_ask_for(tmp_path: Path) -> None:
    """It would take a quarter longer."""
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        (loaded, _) = run(clinic, tmp_path, "backend connect --project {id}")
    options = {"markdown_it", "preference.report_card.card", "backend.connecting.added_controls", "backend.new_tasks.repeats"}

    assert "backend.connecting.connect" in loaded[1]
    assert not loaded[1] & options


def _loaded(clinic: Clinic, folder: Path) -> set[str]:
    """All that a doctor had loaded when its process ended."""
    return set().union(*(modules for _, modules in run(clinic, folder, "backend doctor")))
