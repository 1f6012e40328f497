"""Processes that get a signal to end while they still load, or are started in a folder that holds a file of their name."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from demo.stack import PROGRAMS, free_port
from tests.support.studio_double import wait_until


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for that signal, as Linux says."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("command", ["pairloop-backend serve", "pairloop-trainer run"])
def test_sigterm_while_it_still_loads_is_an_ordered_end(command: str, tmp_path: Path) -> None:
    program, argument = command.split()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODEL_DIR": str(tmp_path), "PORT": str(free_port())}
    environ |= {"GENERATOR_ENGINE": "echo", "TORCH_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([str(PROGRAMS / program), argument], env=environ, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: catches(process.pid, signal.SIGTERM), seconds=60)
        process.terminate()
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in errors) == (0, False), errors


def test_a_round_runs_our_program_whatever_lies_in_the_trainers_folder(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text("print('hijacked')", encoding="utf-8")
    program = "import subprocess; from trainer.daemon.round_process import program_command; subprocess.run([*program_command('trainer'), 'once', '--help'])"
    command = [str(PROGRAMS / "python"), "-P", "-c", program]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True).stdout
    assert output.startswith("Usage: pairloop-trainer once") and "hijacked" not in output
