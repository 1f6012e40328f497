"""The commands that both programs have, run as both: in this process, as processes of their own, in a pipe and on a terminal."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import REPOSITORY
from tests.support.commands import PROGRAMS, SHARED

ELSEWHERE = {"export": "pairloop-trainer", "fill": "pairloop-backend"}


# What --help says


def commands_of(program: str) -> dict[str, str]:
    """Each command of a program, and what its --help says of it at 80 columns."""
    text = CliRunner().invoke(PROGRAMS[program], ["--help"]).output
    return dict(re.findall(r"^  ([a-z]+) {2,}(.+)$", text.partition("Commands:\n")[2], re.MULTILINE))


def test_both_programs_list_the_shared_commands_in_the_same_words() -> None:
    ours, other = map(commands_of, PROGRAMS)

    assert {*SHARED, *ELSEWHERE} == ours.keys() & other.keys()
    assert {name: ours[name] for name in (*SHARED, *ELSEWHERE)} == {name: other[name] for name in (*SHARED, *ELSEWHERE)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_list_of_commands_says_is_a_whole_sentence(program: str) -> None:
    assert [text for text in commands_of(program).values() if not re.fullmatch(r"[A-Z].*[^.]\.", text)] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_both_programs_tell_their_version_and_take_h_for_help(program: str) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    main = PROGRAMS[program]
    assert CliRunner().invoke(main, ["--version"]).output == f"pairloop {version}\n"
    assert CliRunner().invoke(main, ["-h"]).output == CliRunner().invoke(main, ["--help"]).output
    assert CliRunner().invoke(main, ["status", "-h"]).output == CliRunner().invoke(main, ["status", "--help"]).output


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_command_takes_the_same_options_under_both_programs(name: str) -> None:
    helps = [CliRunner().invoke(main, [name, "--help"], prog_name="it").output for main in PROGRAMS.values()]

    assert helps[0] == helps[1]
    assert f"it {name}" in helps[0] and "--project ID" in helps[0]


# What the other program runs


def run_program(program: str, *arguments: str, folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "MODEL_DIR": str(folder), **environ}, capture_output=True, text=True
    )


@pytest.mark.parametrize(("name", "owner"), ELSEWHERE.items())
def test_what_the_other_program_runs_is_that_programs_own_command(name: str, owner: str, tmp_path: Path) -> None:
    other = next(program for program in PROGRAMS if program != owner)
    (tmp_path / f"{owner.removeprefix('pairloop-')}.py").write_text("print('a file of the user that is named as our package')")

    helps = [run_program(program, name, "--help", folder=tmp_path).stdout for program in (owner, other)]

    assert helps[0] == helps[1]
    assert helps[0].startswith(f"Usage: {owner} {name} ") and "--project ID" in helps[0]


@pytest.mark.parametrize(
    ("program", "arguments", "status", "output"),
    [
        ("pairloop-backend", ["export", "--project", "3", "--out", "a file.csv"], 1, "a file.csv should end with .jsonl"),
        ("pairloop-backend", ["export", "--", "--out"], 2, "Missing option '--project'"),
        ("pairloop-trainer", ["fill", "--project", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_the_other_program_gets_all_arguments_as_they_are(
    program: str, arguments: list[str], status: int, output: str, tmp_path: Path
) -> None:
    ended = run_program(program, *arguments, folder=tmp_path)

    assert (ended.returncode, ended.stdout) == (status, "")
    assert output in ended.stderr


def test_a_checkout_that_is_not_installed_can_start_the_other_program_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "export", "--help"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)

    assert ended.stdout.startswith("Usage: pairloop-trainer export ")
