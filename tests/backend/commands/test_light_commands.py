"""Commands that people wait for load nothing heavy: torch and its like are for what computes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble

HEAVY = {"datasets", "matplotlib", "openai", "pandas", "scipy", "sklearn", "torch", "transformers", "trl"}
_RUN = """
import atexit, json, sys
from importlib import import_module
from pathlib import Path
atexit.register(lambda: Path(sys.argv[1]).write_text(json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
import_module(f"{sys.argv[2]}.__main__").main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with StudioDouble() as studio, Clinic(studio, tmp_path_factory.mktemp("clinic")) as clinic:
        (task,) = studio.add_tasks(clinic.id, {"prompt": "Why?", "answer1": "So.", "answer2": "No."})
        region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}
        studio.annotate(task, [region])
        yield clinic


def loaded(clinic: Clinic, tmp_path: Path, program: str, *arguments: object) -> set[str]:
    """The packages that a command had loaded when its process ended, in order."""
    heard = tmp_path / "loaded.json"
    command = [sys.executable, "-c", _RUN, str(heard), program, *map(str, arguments)]
    environ = {**os.environ, **clinic.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, env=environ, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert ended.returncode in (0, 1) and "Traceback" not in ended.stderr, ended.stderr
    return set(json.loads(heard.read_text()))


@pytest.mark.parametrize(
    "command",
    [
        "backend doctor", "backend doctor --project 1", "backend connect --project 1", "backend connect --new Another",
        "backend import --help", "backend fill --help", "backend --help", "backend status", "trainer status", "trainer versions",
        "trainer report --project 1", "trainer export --project 1 --out {out}/pairs.jsonl",
        "trainer export --project 1 --format csv --out {out}/pairs.csv", "trainer --help",
    ],
)  # fmt: skip
def test_a_command_that_computes_nothing_loads_nothing_heavy(clinic: Clinic, tmp_path: Path, command: str) -> None:
    program, *arguments = command.format(out=tmp_path).split()
    arguments = [str(clinic.id) if argument == "1" else argument for argument in arguments]

    assert not loaded(clinic, tmp_path, program, *arguments) & HEAVY


def test_the_doctor_leaves_the_loading_of_a_served_champion_to_the_backend(tmp_path: Path, tiny_base: Path) -> None:
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        version = clinic.promote(tiny_base)
        clinic.serve_again()
        clinic.run("connect", "--project", clinic.id)

        assert not loaded(clinic, tmp_path, "backend", "doctor") & HEAVY
        assert clinic.doctor()["champion"]["found"] == f"{version} is whole: it scores its probe as its card says"

        clinic.end()  # nobody else has loaded it
        assert "torch" in loaded(clinic, tmp_path, "backend", "doctor")
