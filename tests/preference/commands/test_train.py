import logging
import re
import shutil
import time
from pathlib import Path

from filelock import FileLock

from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.projects.status_files import write_next_round
from preference.projects.trainer_heartbeat import mark_alive
from tests.support.commands import Invoke
from tests.support.statuses import write_counts

# train


def test_train_says_what_each_project_waits_for(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    mark_alive(tmp_path)
    write_counts(folder, 12)
    write_next_round(tmp_path, time.time() + 5 * 3600, schedule="0 3 * * *", min_new_pairs=50)
    others = [ProjectFolder(tmp_path, project_id) for project_id in (4, 5, 6)]
    for other in others:
        other.create()
    write_counts(others[0], 3, training_since=time.time() - 600)
    others[1].request("train")

    lines = invoke("train").output.splitlines()

    schedule = r"the schedule \(0 3 \* \* \*\) looks at \d{4}-\d\d-\d\d \d\d:\d\d UTC, in 5 h"
    expected = [
        rf"trainer: running on {re.escape(str(tmp_path))}",
        rf"project 3: 12 new judgements, 50 start a round; {schedule}",
        r"project 4: a round is running for 1[01] min",
        r"project 5: a round is asked for",
        rf"project 6: new judgements are not counted yet, 50 start a round; {schedule}",
        r"`pairloop-trainer train --now` asks for a round now",
    ]
    assert [bool(re.fullmatch(pattern, line)) for pattern, line in zip(expected, lines, strict=True)] == [True] * 6, lines
    assert [other.is_requested("train") for other in others] == [False, True, False]


def test_train_says_until_when_a_project_waits_whose_round_failed(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    mark_alive(tmp_path)
    write_next_round(tmp_path, None, schedule="0 3 * * *", min_new_pairs=50)
    for not_before, wait in ((4e9, "; not before 2096-10-02 07:06 UTC, as the last one failed"), (1e9, "")):
        write_counts(folder, 62, not_before=not_before)
        assert invoke("train").output.splitlines()[1] == f"project 3: 62 new judgements, 50 start a round{wait}"


def test_train_without_a_trainer_says_how_there_is_one(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    write_counts(folder, 12, training_since=time.time() - 600)
    write_next_round(tmp_path, time.time() + 9999, schedule="6h", min_new_pairs=70)  # it was stopped since

    assert invoke("train", "--project", "3").output.splitlines() == [
        f"trainer: not running on {tmp_path}",
        "project 3: 12 new judgements, 50 start a round",
        "start `pairloop-trainer run`, or train right here: `pairloop-trainer once --project 3`",
    ]


def test_train_now_leaves_a_request_for_each_project_and_says_when_it_is_taken(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    mark_alive(tmp_path)
    other = ProjectFolder(tmp_path, 12)
    other.request("train")

    result = invoke("train", "--now", LOOK_EVERY_SECONDS="7")

    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            "project 3: a round is asked for; the trainer takes that within 7 s",
            "project 12: a round was asked for already; the trainer takes that within 7 s",
        ],
    )
    assert folder.is_requested("train") and other.is_requested("train")


def test_train_now_asks_for_the_named_project_alone_and_waits_for_a_running_round(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    mark_alive(tmp_path)
    other = ProjectFolder(tmp_path, 12)
    other.create()
    write_counts(other, 3, training_since=time.time())

    result = invoke("train", "--now", "--project", "3")

    assert result.output == "project 3: a round is asked for; the trainer takes that after the round of project 12\n"
    assert folder.is_requested("train") and not other.is_requested("train")


def test_train_now_asks_for_every_project_although_one_refuses(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    mark_alive(tmp_path)
    shutil.rmtree(folder.path / "requests")
    (folder.path / "requests").touch()
    other = ProjectFolder(tmp_path, 12)
    other.create()

    result = invoke("train", "--now")

    assert result.exit_code == 1
    assert result.stdout == "project 12: a round is asked for; the trainer takes that within 5 s\n"
    assert result.stderr.startswith(f"Error: MODEL_DIR is not writable at {folder.path} (")
    assert other.is_requested("train")


def test_train_now_promises_nothing_for_a_project_that_the_trainer_cannot_look_at(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    mark_alive(tmp_path)
    ProjectFolder(tmp_path, 12).create()
    noted = ProjectProblems(tmp_path, "trainer", logging.getLogger("pairloop.daemon"))
    noted.note(3, "look", "Label Studio at http://studio refuses LABEL_STUDIO_API_KEY; make another.")

    with FileLock(tmp_path / "trainer.lock"):
        result = invoke("train", "--now")

    assert (result.exit_code, result.stdout.splitlines()) == (
        1, ["project 3: a round is asked for", "project 12: a round is asked for; the trainer takes that within 5 s"]
    )  # fmt: skip
    assert result.stderr == (
        "Error: Project 3: the trainer cannot take that yet: Label Studio at http://studio refuses LABEL_STUDIO_API_KEY; make another.\n"
    )
    assert folder.is_requested("train"), "it is taken when the key is"
    noted.note(3, "look")
    assert invoke("train", "--now").exit_code == 0


def test_train_now_without_a_trainer_leaves_the_request_and_fails(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    result = invoke("train", "--now", "--project", "3")

    assert (result.exit_code, result.stdout) == (1, "project 3: a round is asked for\n")
    advice = "start `pairloop-trainer run`, or train right here: `pairloop-trainer once --project 3`"
    assert result.stderr == f"Error: No trainer is running on MODEL_DIR={tmp_path}, so that waits; {advice}.\n"
    assert folder.is_requested("train")


def test_train_now_is_refused_for_a_disconnected_project(invoke: Invoke, folder: ProjectFolder) -> None:
    folder.disconnect()

    result = invoke("train", "--now", "--project", "3")

    assert result.exit_code == 1
    assert result.output.startswith("Error: Project 3 is disconnected, so no trainer looks after it; ")
    assert not folder.is_requested("train")
