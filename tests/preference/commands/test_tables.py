import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.status_files import write_last_round
from preference.projects.versions import Versions
from tests.support.commands import made_at
from tests.support.statuses import write_counts

# On a terminal


def on_terminal(program: str, *arguments: str, model_dir: Path, columns: int) -> list[str]:
    """The lines that a command prints on a terminal of that width, as they appear."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (40, columns))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        stdin=inside, stdout=inside, stderr=inside, env={**environ, "TERM": "xterm", "MODEL_DIR": str(model_dir)},
    )  # fmt: skip
    os.close(inside)
    printed = b""
    try:
        while piece := os.read(terminal, 4096):
            printed += piece
    except OSError:  # Linux says so if the last process has closed the terminal
        pass
    os.close(terminal)
    assert process.wait(60) == 0, printed
    text = printed.decode().replace("\r\n", "\n")
    assert "\x1b[1m" in text, "the header is bold"
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]


@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal_versions_are_a_table_with_each_text_below_its_row(
    folder: ProjectFolder, columns: int, tmp_path: Path
) -> None:
    first, second = Versions(folder).all()
    Versions(folder).promote(second, by="hand", reason="it says sorry where it should, and " + "is kinder " * 15 + "on the whole")

    lines = on_terminal("pairloop-backend", "versions", model_dir=tmp_path, columns=columns)

    assert all(len(line) <= columns for line in lines), lines
    assert lines[0].split()[:3] == ["project", "version", "champion"]
    version_at = lines[0].index("version")
    assert [line[version_at:].split()[0] for line in lines if line[version_at - 3 : version_at].strip() == "3"] == [first, second]
    assert "    verdict        promoted: accuracy 0.700, and there was no champion" in lines
    begin = next(i for i, line in enumerate(lines) if line.startswith("    made champion") and "by hand" in line)
    reason = " ".join(line.removeprefix("    made champion").strip() for line in lines[begin:])
    assert reason == f"{made_at(folder, second)} UTC by hand after {first}: {Versions(folder).card(second).promotions[-1].reason}"


def test_on_a_terminal_status_fits_80_columns(folder: ProjectFolder, tmp_path: Path) -> None:
    _, second = Versions(folder).all()
    write_counts(folder, 1200)
    folder.request("train")
    folder.request("fill")
    write_last_round(folder, "rejected", reason="accuracy 0.600 is below the champion's beyond noise", version=second, seconds=4)

    lines = on_terminal("pairloop-trainer", "status", model_dir=tmp_path, columns=80)

    assert lines[0] == f"trainer: not running on {tmp_path}"
    assert all(len(line) <= 80 for line in lines[1:]), lines
    assert f"      3  {Versions(folder).champion()}" in "\n".join(lines)
    assert any("1200 of 50" in line and line.endswith("train, fill") for line in lines)
    assert any(line.startswith(f"    last round      kept back {second}, ") for line in lines)


def test_a_reader_that_leaves_early_ends_a_command_without_a_trace(folder: ProjectFolder, tmp_path: Path) -> None:
    Versions(folder).promote(Versions(folder).all()[1], reason="x" * 200_000)  # more than a pipe holds
    program = str(Path(sys.executable).with_name("pairloop-trainer"))
    environ = {**os.environ, "MODEL_DIR": str(tmp_path)}
    with subprocess.Popen([program, "versions"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(7)
        process.stdout.close()
        assert process.stderr.read() == b""
