"""Processes that get a signal to end while they still load, or are started in a folder that holds a file of their name."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from demo.stack import PROGRAMS, REPOSITORY, free_port
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


def test_sigterm_while_the_server_imports_for_its_workers_is_an_ordered_end(tmp_path: Path) -> None:
    with _serving(tmp_path) as (process, log):
        wait_until(lambda: "Listening at" in log.read_text(), seconds=60)
        process.terminate()
        assert process.wait(100) == 0
        assert "Traceback" not in log.read_text()
        assert "Booting worker" not in log.read_text(), "nothing was forked that would have to end, too"


# A worker that gets SIGTERM right after its fork, where it has the master's handlers. It imports nothing of what it would serve.
EARLY = """
import os, pathlib, signal, sys
from backend.web.gunicorn_server import Server
from preference.settings import Settings

class Early(Server):
    def load_config(self):
        super().load_config()
        self.cfg.set("when_ready", lambda master: None)
        self.cfg.set("post_fork", lambda master, worker: os.kill(worker.pid, signal.SIGTERM))
        self.cfg.set("post_worker_init", lambda worker: None)
        self.cfg.set("worker_exit", lambda master, worker: os.kill(master.pid, signal.SIGQUIT))
        self.cfg.set("child_exit", lambda master, worker: None)

    def load(self):
        return lambda environ, start: []

Early(Settings.of(port=int(sys.argv[1])), tallies=pathlib.Path(sys.argv[2])).run()
"""


def test_a_worker_ends_by_a_signal_that_comes_before_its_handlers(tmp_path: Path) -> None:
    command = [str(PROGRAMS / "python"), "-c", EARLY, str(free_port()), str(tmp_path)]
    assert subprocess.run(command, cwd=REPOSITORY, timeout=25, check=False).returncode == 0


def test_workers_share_what_the_server_imported(tmp_path: Path) -> None:
    with _serving(tmp_path, WORKERS="2") as (process, log):
        wait_until(lambda: log.read_text().count("Booting worker") == 2, seconds=120)
        server = psutil.Process(process.pid)
        wait_until(lambda: _has_imported_torch(server), seconds=60)
        workers = server.children()
        assert len(workers) == 2
        for worker in workers:
            assert worker.memory_full_info().uss < server.memory_info().rss / 2
            assert _has_imported_torch(worker)


@contextmanager
def _serving(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The process of `pairloop-backend serve`, and the file of its log."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "MODEL_DIR": str(folder / "models"), "PORT": str(free_port())}
    environ |= {"GENERATOR_ENGINE": "echo", "TORCH_THREADS": "1", "HF_HUB_OFFLINE": "1", **settings}
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen([str(PROGRAMS / "pairloop-backend"), "serve"], env=environ, stderr=errors)
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(100)


def _has_imported_torch(process: psutil.Process) -> bool:
    return "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()
