import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from preference.projects.folder import ProjectFolder
from preference.projects.status_files import LastAlignment, write_last_round, write_next_round
from preference.projects.trainer_heartbeat import mark_alive
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY
from tests.support.commands import PROGRAMS, Invoke, rows
from tests.support.statuses import write_counts

# status


def test_status_shows_a_row_for_each_project(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    first, second = Versions(folder).all()
    write_counts(folder, 12)
    write_last_round(folder, "rejected", reason="accuracy 0.600 is below", version=second, seconds=4)
    folder.request("fill")
    folder.request("train")
    ProjectFolder(tmp_path, 12).create()

    result = invoke("status", MIN_NEW_PAIRS="20")

    assert result.output.splitlines()[0] == f"trainer: not running on {tmp_path}"
    third, twelfth = rows(result)
    assert re.fullmatch(rf"kept back {second}, \d{{4}}-\d\d-\d\d \d\d:\d\d UTC: accuracy 0.600 is below", third.pop("last round"))
    assert third == {
        "project": "3", "champion": first, "versions": "2", "waiting": "12 of 20", "training": "-", "requests": "train, fill",
        "last alignment": "-", "problem": "-", "guidelines": "-", "certificate": "-",
    }  # fmt: skip
    assert list(twelfth.values()) == ["12", "none yet", "0", "-", "-", "-", "-", "-", "-", "-", "-"]


def test_status_shows_for_how_long_a_round_is_running_while_there_is_a_trainer(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    write_counts(folder, 12, training_since=time.time() - 600)
    assert rows(invoke("status"))[0]["training"] == "-"

    mark_alive(tmp_path)

    assert re.fullmatch(r"for 1[01] min", rows(invoke("status"))[0]["training"])


def test_status_goes_by_what_the_running_trainer_goes_by(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    write_counts(folder, 12)
    write_next_round(tmp_path, time.time(), schedule="6h", min_new_pairs=70)
    assert rows(invoke("status"))[0]["waiting"] == "12 of 50"

    mark_alive(tmp_path)

    assert rows(invoke("status"))[0]["waiting"] == "12 of 70"


def test_status_shows_when_generators_learn_and_how_the_last_alignment_ended(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    assert "alignments" not in invoke("status").output
    assert invoke("status", ALIGN_SCHEDULE="0 4 * * *").output.splitlines()[1] == "alignments: on schedule (0 4 * * *)"
    mark_alive(tmp_path)
    write_next_round(
        tmp_path, time.time(), schedule="6h", min_new_pairs=70, align_at=time.time() + 7200, align_schedule="30 4 * * *"
    )
    write_last_round(folder, "skipped", reason="12 judged comparisons", version=None, seconds=4, kind=LastAlignment)

    result = invoke("status")

    line = result.output.splitlines()[1]
    assert re.fullmatch(
        r"alignments: on schedule \(30 4 \* \* \*\), next at \d{4}-\d\d-\d\d \d\d:\d\d UTC, in (2 h|120 min)", line
    )
    (row,) = rows(result)
    assert row["last alignment"].startswith("skipped, ") and row["last alignment"].endswith(": 12 judged comparisons")
    status = json.loads(invoke("status", "--json").output)
    assert status["trainer"]["align_schedule"] == "30 4 * * *" and status["trainer"]["next_alignment_at"]
    assert status["projects"][0]["last_alignment"]["outcome"] == "skipped"


@pytest.mark.parametrize(
    ("name", "lock", "record", "doing"),
    [
        ("round", "round.lock", "training/round.json", "running"),
        ("alignment", "align.lock", "aligning/alignment.json", "aligning"),
    ],
)
def test_status_tells_what_a_process_is_at_from_what_was_killed(
    invoke: Invoke, folder: ProjectFolder, name: str, lock: str, record: str, doing: str
) -> None:
    left = folder.path / record
    left.parent.mkdir()
    left.write_text("{}")

    with FileLock(folder.path / lock):
        working = rows(invoke("status"))[0]["training"], json.loads(invoke("status", "--json").output)["projects"][0]
    killed = rows(invoke("status"))[0]["training"], json.loads(invoke("status", "--json").output)["projects"][0]

    assert (working[0], killed[0]) == (doing, f"{name} interrupted, the next one takes it up")
    assert (working[1]["is_training"] or working[1]["is_aligning"], working[1]["interrupted"]) == (True, [])
    assert (killed[1]["is_training"] or killed[1]["is_aligning"], killed[1]["interrupted"]) == (False, [name])


def test_an_alignment_that_was_killed_is_no_other_while_best_of_n_is_measured(invoke: Invoke, folder: ProjectFolder) -> None:
    (folder.path / "aligning").mkdir()
    (folder.path / "aligning" / "alignment.json").write_text("{}")

    with FileLock(folder.path / "align.lock"), FileLock(folder.path / "best_of_n.lock"):
        (row,) = rows(invoke("status"))

    assert row["training"] == "measuring best of n; alignment interrupted, the next one takes it up"


def test_a_round_whose_process_is_about_to_start_was_not_interrupted(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    mark_alive(tmp_path)
    write_counts(folder, 12, training_since=time.time() - 600)
    (folder.path / "training").mkdir()
    (folder.path / "training" / "round.json").write_text("{}")

    assert re.fullmatch(r"for 1[01] min", rows(invoke("status"))[0]["training"])


def test_a_status_makes_no_file_and_needs_none_that_it_could_write(invoke: Invoke, folder: ProjectFolder) -> None:
    for name in ("round.lock", "align.lock"):
        (folder.path / name).unlink(missing_ok=True)
    before = sorted(folder.path.rglob("*"))

    assert rows(invoke("status"))[0]["problem"] == "-"

    assert sorted(folder.path.rglob("*")) == before


def test_status_of_one_project_shows_that_alone_even_a_disconnected_one(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    ProjectFolder(tmp_path, 12).create()
    folder.disconnect()

    assert [row["project"] for row in rows(invoke("status"))] == ["12"]
    one = rows(invoke("status", "--project", "3"))
    assert [row["project"] for row in one] == ["3"]
    assert one[0]["problem"] == "it is disconnected; pairloop-backend connect --project 3 connects it again"


def test_status_as_json_holds_the_same_for_programs(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    first, second = Versions(folder).all()
    write_counts(folder, 12, title="Höflichkeit")
    write_last_round(folder, "rejected", reason="accuracy 0.600 is below", version=second, seconds=4)
    at = json.loads((folder.path / "last_round.json").read_text())["at"]

    status = json.loads(invoke("status", "--json").output)

    assert status["trainer"] == {
        "is_running": False, "model_dir": str(tmp_path), "schedule": "0 3 * * *", "next_round_at": None, "num_needed": 50,
        "align_schedule": "", "next_alignment_at": None,
    }  # fmt: skip
    [project] = status["projects"]
    ended = project.pop("last_round")
    assert datetime.fromisoformat(ended.pop("at")) == datetime.fromtimestamp(at, UTC)
    assert ended == {"outcome": "rejected", "reason": "accuracy 0.600 is below", "version": second, "seconds": 4.0}
    assert project == {
        "project": 3, "title": "Höflichkeit", "champion": first, "num_versions": 2, "num_waiting": 12, "missing": None,
        "training_since": None, "is_training": False, "is_unfinished": False, "is_aligning": False, "is_measuring": False, "interrupted": [], "requests": [],
        "last_alignment": None, "problem": "", "guidelines": "", "certificate": "",
    }  # fmt: skip


def test_the_exit_status_of_the_check_says_whether_a_trainer_runs(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("status", "--check")
    assert (result.exit_code, result.output) == (1, f"trainer: not running on {tmp_path}\n")

    mark_alive(tmp_path)

    result = invoke("status", "--check")
    assert (result.exit_code, result.output) == (0, f"trainer: running on {tmp_path}\n")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_check_loads_nothing_heavy(program: str, tmp_path: Path) -> None:
    """A health check runs every few seconds; loading torch takes ten seconds of CPU time."""
    code = f"""
import sys
from {program.removeprefix("pairloop-")}.__main__ import main
try:
    main(["status", "--check"])
except SystemExit as end:
    heavy = ("torch", "transformers", "apscheduler", "label_studio_sdk", "rich", "numpy")
    print(end.code, [name for name in heavy if name in sys.modules])
"""
    environ = {**os.environ, "MODEL_DIR": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environ, capture_output=True, text=True)

    assert finished.stdout.splitlines() == [f"trainer: not running on {tmp_path}", "1 []"]
