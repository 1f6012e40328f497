import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from preference.errors import StudioUnreachable, TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import LastAlignment, LastRound
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.conftest import REPOSITORY, SettingsFactory
from trainer.aligning.alignment import ALIGNMENT
from trainer.daemon.round_process import RoundProcesses
from trainer.rounds.lock import only_one
from trainer.rounds.outcome import Round, read_outcome, run_here, write_outcome
from trainer.rounds.unfinished import Snapshot, UnfinishedRound


class Lab:
    """Project 3, and rounds that are a Python program of each test's instead of `pairloop-trainer once`."""

    def __init__(self, settings: Settings) -> None:
        self.folder = ProjectFolder(settings.model_dir, 3)
        self.project = LabelStudioProject(settings.studio, 3)

    def rounds(self, program: str) -> RoundProcesses:
        return RoundProcesses([sys.executable, "-c", program])

    def run(self, program: str) -> Round:
        return self.rounds(program)(self.project, self.folder)


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for())


def saying(**fields: Any) -> str:
    return f"print({json.dumps(fields)!r})"


# What the daemon learns of a round's end


@pytest.mark.parametrize(
    "ended",
    [
        Round("promoted", "accuracy 0.700, „mehr“", "v3-20261121-062026"),
        Round("skipped", "3 of 30 pairs (MIN_PAIRS); excluded: 2 skipped"),
        Round("failed", "a reason\nof two lines"),
    ],
)
def test_the_daemon_gets_the_rounds_own_outcome(lab: Lab, ended: Round) -> None:
    assert read_outcome(write_outcome(ended)) == ended
    assert lab.run(f"print('a library greets'); print({write_outcome(ended)!r}); print()") == ended


def test_a_round_knows_its_project(lab: Lab) -> None:
    program = "import json, sys; print(json.dumps({'outcome': 'skipped', 'reason': ' '.join(sys.argv[1:])}))"

    assert lab.run(program).reason == "--project 3"


def test_a_label_studio_that_did_not_answer_the_round_is_the_callers_to_know(lab: Lab) -> None:
    with pytest.raises(StudioUnreachable, match=r"^Label Studio does not answer\.$"):
        lab.run(f"print({write_outcome(StudioUnreachable('Label Studio does not answer.'))!r})")


def test_the_daemon_gets_the_error_that_kept_a_round_from_running(lab: Lab) -> None:
    def no_answer() -> Round:
        raise StudioUnreachable("Label Studio does not answer.")

    line = write_outcome(run_here(lab.folder, no_answer))
    with pytest.raises(StudioUnreachable, match=r"^Label Studio does not answer\.$"):
        read_outcome(line)
    with only_one(lab.folder):
        line = write_outcome(run_here(lab.folder, no_answer))
    with pytest.raises(TrainingError, match=r"in the middle of a round of project 3"):
        read_outcome(line)
    assert run_here(lab.folder, lambda: Round("skipped", "few")) == Round("skipped", "few")


def test_a_project_that_another_process_took_meanwhile_is_put_off(lab: Lab) -> None:
    with pytest.raises(TrainingError, match=r"^taken$"):
        lab.run(f"print({write_outcome(TrainingError('taken'))!r})")


def test_no_process_is_started_for_a_project_whose_round_runs_elsewhere(lab: Lab, tmp_path: Path) -> None:
    with only_one(lab.folder), pytest.raises(TrainingError) as caught:
        lab.run(f"open({str(tmp_path / 'begun')!r}, 'w')")

    assert str(caught.value) == "Another process is in the middle of a round of project 3; this one leaves it to that."
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (signal.SIGKILL, "signal 9, SIGKILL: out of memory?"),
        (signal.SIGSEGV, "signal 11, SIGSEGV: a crash in native code"),
        (signal.SIGTERM, "signal 15, SIGTERM"),
    ],
)
def test_a_round_that_is_killed_has_failed_and_the_log_says_by_what(
    lab: Lab, number: int, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = lab.run(f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {number})")

    assert ended == Round("failed", f"the round's process was killed ({hint})")
    assert caplog.messages == [f"project 3: round failed: {ended.reason}"]


def test_an_alignment_is_a_process_like_a_round_under_its_own_names(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    program = "import os; os.kill(os.getpid(), 9)"
    alignments = RoundProcesses([sys.executable, "-c", program], work=ALIGNMENT)

    with only_one(lab.folder):  # a round is no hindrance here
        ended = alignments(lab.project, lab.folder)
    with only_one(lab.folder, ALIGNMENT), pytest.raises(TrainingError, match="in the middle of an alignment of project 3"):
        alignments(lab.project, lab.folder)

    assert ended.reason == "the alignment's process was killed (signal 9, SIGKILL: out of memory?)"
    assert caplog.messages == [f"project 3: alignment failed: {ended.reason}"]
    assert LastAlignment.read(lab.folder.path).outcome == "failed"
    assert not LastRound.read(lab.folder.path).outcome


@pytest.mark.parametrize("program", ["", "print('hello')", "print('[1]')", "print('{}')", "print(7)"])
def test_a_round_that_ends_without_a_word_has_failed(lab: Lab, program: str) -> None:
    ended = lab.run(f"{program}\nraise SystemExit(3)")

    assert ended == Round("failed", "the round's process ended with status 3; the log above says why")


def test_a_crash_after_the_last_word_changes_nothing(lab: Lab) -> None:
    program = saying(outcome="promoted", reason="better", version="v1-20261121-062026")

    ended = lab.run(f"import os\n{program}\nimport sys; sys.stdout.flush(); os.kill(os.getpid(), 9)")

    assert ended == Round("promoted", "better", "v1-20261121-062026")


# Where it runs


def test_a_round_has_the_daemons_environment_folder_and_errors(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAIRLOOP_SEEN", "yes")
    program = "import os, sys, json; sys.stderr.write('a line of its log'); "
    program += "print(json.dumps({'outcome': 'skipped', 'reason': os.environ['PAIRLOOP_SEEN'] + os.getcwd()}))"

    assert lab.run(program).reason == f"yes{Path.cwd()}"
    assert capfd.readouterr().err == "a line of its log"


def test_a_round_does_not_get_the_terminals_signals(lab: Lab) -> None:
    program = "import os, json; print(json.dumps({'outcome': 'skipped', 'reason': str(os.getsid(0) == os.getpid())}))"

    assert lab.run(program).reason == "True"


def test_an_interrupted_round_is_no_failure_and_no_attempt(lab: Lab, tmp_path: Path) -> None:
    unfinished = UnfinishedRound(lab.folder)
    unfinished.begin()
    unfinished.keep(Snapshot([], 0, {}))
    rounds = lab.rounds(f"import time; open({str(tmp_path / 'begun')!r}, 'w'); time.sleep(60)")
    caught: list[TrainingError] = []

    def run() -> None:
        try:
            rounds(lab.project, lab.folder)
        except TrainingError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rounds.interrupt()
    thread.join(30)

    assert [str(error) for error in caught] == [
        "The round was stopped before it ended; the next start of the trainer takes it up."
    ]
    assert (unfinished.exists, unfinished.num_attempts) == (True, 0)


def test_a_round_that_is_interrupted_while_its_process_starts_does_not_run_on(lab: Lab) -> None:
    rounds = lab.rounds("import time; time.sleep(60)")
    rounds.interrupt()

    with pytest.raises(TrainingError, match="stopped before it ended"):
        rounds(lab.project, lab.folder)

    assert lab.folder.is_requested("train")


def test_the_daemon_loads_nothing_that_a_model_needs() -> None:
    """Its memory is all that a round leaves on the machine, for months."""
    program = """
import sys
import trainer.__main__, trainer.daemon.schedule, trainer.daemon.round_process
print([name for name in ("torch", "transformers", "trl", "datasets", "scipy", "sklearn") if name in sys.modules])
"""
    finished = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=100)

    assert (finished.stdout, finished.stderr) == ("[]\n", "")
