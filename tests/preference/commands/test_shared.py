"""The commands that both programs have, run as both: in this process, as processes of their own, in a pipe and on a terminal."""

import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import backend.__main__
import trainer.__main__
from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import beat
from preference.projects.training_status import tell_next_round, tell_round, tell_waiting
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY
from tests.support.cards import EMPTY_CARD

PROGRAMS: dict[str, click.Group] = {"pairloop-backend": backend.__main__.main, "pairloop-trainer": trainer.__main__.main}
SHARED = ("status", "train", "versions", "promote", "rollback")
ELSEWHERE = {"export": "pairloop-trainer", "fill": "pairloop-backend"}
Invoke = Callable[..., Result]


@pytest.fixture(params=PROGRAMS)
def invoke(request: pytest.FixtureRequest, tmp_path: Path) -> Invoke:
    """Runs a command of either program with MODEL_DIR in this test's folder; keyword arguments are further variables."""

    def run(*arguments: str, **environ: str) -> Result:
        settings = {"MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": ""}
        return CliRunner().invoke(PROGRAMS[request.param], list(arguments), env={**settings, **environ})

    return run


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """Project 3 with two versions: the first is the champion, the second was kept back."""
    made = ProjectFolder(tmp_path, 3)
    (tmp_path / "trained").mkdir()
    first = dataclasses.replace(
        EMPTY_CARD, num_train_pairs=40, promoted=True, reason="accuracy 0.700, and there was no champion",
        metrics={"accuracy": 0.7, "interval": [0.5812, 0.7954]},
    )  # fmt: skip
    Versions(made).promote(Versions(made).publish(tmp_path / "trained", first))
    Versions(made).publish(
        tmp_path / "trained", dataclasses.replace(EMPTY_CARD, num_train_pairs=50, reason="accuracy 0.600 is below")
    )
    return made


def rows(result: Result) -> list[dict[str, str]]:
    """What a program reads from a table in a pipe."""
    assert result.exit_code == 0, result.output
    header, *lines = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    return [dict(zip(header, cells, strict=True)) for cells in lines]


def made_at(folder: ProjectFolder, version: str) -> str:
    return str(Versions(folder).card(version).promotions[-1]["at"])[:16].replace("T", " ")


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
    ("program", "arguments", "status", "says"),
    [
        ("pairloop-backend", ["export", "--project", "3", "--out", "a file.csv"], 1, "a file.csv should end with .jsonl"),
        ("pairloop-backend", ["export", "--", "--out"], 2, "Missing option '--project'"),
        ("pairloop-trainer", ["fill", "--project", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_the_other_program_gets_all_arguments_as_they_are(
    program: str, arguments: list[str], status: int, says: str, tmp_path: Path
) -> None:
    ended = run_program(program, *arguments, folder=tmp_path)

    assert (ended.returncode, ended.stdout) == (status, "")
    assert says in ended.stderr


def test_from_a_checkout_that_is_not_installed_the_other_program_is_found_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backend", "export", "--help"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)

    assert ended.stdout.startswith("Usage: pairloop-trainer export ")


# status


def test_status_shows_a_row_for_each_project(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    first, second = Versions(folder).all()
    tell_waiting(folder, 12)
    tell_round(folder, "rejected", reason="accuracy 0.600 is below", version=second, seconds=4)
    folder.request("fill")
    folder.request("train")
    ProjectFolder(tmp_path, 12).create()

    result = invoke("status", MIN_NEW_PAIRS="20")

    assert result.output.splitlines()[0] == f"trainer: not running on {tmp_path}"
    third, twelfth = rows(result)
    assert re.fullmatch(rf"rejected {second}, \d{{4}}-\d\d-\d\d \d\d:\d\d UTC: accuracy 0.600 is below", third.pop("last round"))
    assert third == {
        "project": "3", "champion": first, "versions": "2", "waiting": "12 of 20", "training": "-", "requests": "train, fill",
        "problem": "-",
    }  # fmt: skip
    assert list(twelfth.values()) == ["12", "none yet", "0", "-", "-", "-", "-", "-"]


def test_status_shows_for_how_long_a_round_is_running_while_there_is_a_trainer(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    tell_waiting(folder, 12, project={"training_since": time.time() - 600})
    assert rows(invoke("status"))[0]["training"] == "-"

    beat(tmp_path)

    assert re.fullmatch(r"for 1[01] min", rows(invoke("status"))[0]["training"])


def test_status_goes_by_what_the_running_trainer_goes_by(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    tell_waiting(folder, 12)
    tell_next_round(tmp_path, time.time(), schedule="6h", min_new_pairs=70)
    assert rows(invoke("status"))[0]["waiting"] == "12 of 50"

    beat(tmp_path)

    assert rows(invoke("status"))[0]["waiting"] == "12 of 70"


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
    tell_waiting(folder, 12, project={"title": "Höflichkeit"})
    tell_round(folder, "rejected", reason="accuracy 0.600 is below", version=second, seconds=4)
    at = json.loads((folder.path / "last_round.json").read_text())["at"]

    told = json.loads(invoke("status", "--json").output)

    assert told["trainer"] == {
        "is_running": False, "model_dir": str(tmp_path), "schedule": "0 3 * * *", "next_round_at": None, "num_needed": 50,
    }  # fmt: skip
    [project] = told["projects"]
    ended = project.pop("last_round")
    assert datetime.fromisoformat(ended.pop("at")) == datetime.fromtimestamp(at, UTC)
    assert ended == {"outcome": "rejected", "reason": "accuracy 0.600 is below", "version": second, "seconds": 4.0}
    assert project == {
        "project": 3, "title": "Höflichkeit", "champion": first, "num_versions": 2, "num_waiting": 12, "training_since": None,
        "is_unfinished": False, "requests": [], "problem": "",
    }  # fmt: skip


def test_the_check_tells_by_its_exit_status_whether_a_trainer_runs(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("status", "--check")
    assert (result.exit_code, result.output) == (1, f"trainer: not running on {tmp_path}\n")

    beat(tmp_path)

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
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environ, capture_output=True, text=True)

    assert found.stdout.splitlines() == [f"trainer: not running on {tmp_path}", "1 []"]


# versions


def test_versions_show_figures_verdicts_and_who_promoted_and_why(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    first, second = Versions(folder).all()
    invoke("promote", "--project", "3", second, "--reason", "people like it")
    invoke("rollback", "--project", "3")

    older, newer = rows(invoke("versions"))

    by_judge = Versions(folder).card(first).promotions[0]["at"][:16].replace("T", " ")
    assert older == {
        "project": "3", "version": first, "champion": "*", "recipe": "frozen", "pairs": "40",
        "accuracy": "0.700 (0.581 to 0.795)", "verdict": "promoted: accuracy 0.700, and there was no champion",
        "made champion": f"{by_judge} UTC by judge; {made_at(folder, first)} UTC by rollback after {second}",
    }  # fmt: skip
    assert newer == {
        "project": "3", "version": second, "champion": "-", "recipe": "frozen", "pairs": "50",
        "accuracy": "-", "verdict": "kept back: accuracy 0.600 is below",
        "made champion": f"{made_at(folder, second)} UTC by hand after {first}: people like it",
    }  # fmt: skip


def test_versions_of_all_projects_are_one_table(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    other = Versions(ProjectFolder(tmp_path, 12)).publish(tmp_path / "trained", EMPTY_CARD)

    assert [row["version"] for row in rows(invoke("versions"))] == [*Versions(folder).all(), other]
    assert [row["version"] for row in rows(invoke("versions", "--project", "12"))] == [other]


def test_a_broken_card_is_a_row_that_says_so(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    (Versions(folder).path(first) / "card.json").write_text("{", encoding="utf-8")

    broken, whole = rows(invoke("versions"))

    assert (broken["version"], broken["champion"], broken["pairs"]) == (first, "*", "-")
    assert broken["verdict"].startswith(
        f"broken: {Versions(folder).path(first) / 'card.json'} is not a model card (JSONDecodeError)"
    )
    assert (whole["version"], whole["pairs"]) == (second, "50")
    assert [version["verdict"] for version in json.loads(invoke("versions", "--json").output)] == ["broken", "kept back"]


def test_versions_as_json_hold_the_same_for_programs(invoke: Invoke, folder: ProjectFolder) -> None:
    first, _ = Versions(folder).all()
    card = Versions(folder).card(first)

    told = json.loads(invoke("versions", "--project", "3", "--json").output)[0]

    assert told == {
        "project": 3, "version": first, "is_champion": True, "made_at": card.created_at, "recipe": "frozen", "num_pairs": 40,
        "accuracy": 0.7, "interval": [0.5812, 0.7954], "verdict": "promoted", "reason": card.reason,
        "promotions": [{"at": card.promotions[0]["at"], "by": "judge", "before": None, "reason": None}],
    }  # fmt: skip


# Whatever lies in MODEL_DIR


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "null",
        "[1]",
        '{"at": NaN, "judgements": 1e999, "outcome": 5, "training_since": "x"}',
        '{"at": 1%s, "judgements": 1%s, "training_since": 1%s}' % (("0" * 400,) * 3),
    ],
)
def test_damaged_files_keep_no_command_from_saying_the_rest(
    invoke: Invoke, folder: ProjectFolder, damage: str, tmp_path: Path
) -> None:
    for path in (folder.path / "waiting.json", folder.path / "last_round.json", tmp_path / "next_round.json"):
        path.write_text(damage)
    beat(tmp_path)

    for arguments in (["status"], ["status", "--json"], ["versions"], ["train"], ["train", "--now"]):
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert json.loads(invoke("status", "--json").output)["projects"][0]["num_waiting"] is None


def test_figures_of_another_type_are_not_shown(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    for version, metrics in ((first, {"accuracy": "high", "interval": 3}), (second, "none")):
        changes: dict[str, Any] = {
            "metrics": metrics,
            "created_at": "soon",
            "recipe": None,
            "num_train_pairs": 1.5,
            "reason": ["x"],
        }
        path = Versions(folder).path(version) / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        (Versions(folder).path(version) / "promotions.jsonl").write_text('{"at": 5, "by": null, "before": []}\n{')

    for row in rows(invoke("versions")):
        assert [row[name] for name in ("recipe", "pairs", "accuracy")] == ["-"] * 3
    assert invoke("versions", "--json").exit_code == 0


def test_a_project_that_cannot_be_read_says_so_and_the_others_are_shown(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    (tmp_path / "projects" / "12" / "champion").mkdir(parents=True)

    whole, broken = rows(invoke("status"))
    assert (whole["champion"], whole["problem"]) == (Versions(folder).champion(), "-")
    assert broken["problem"] == f"{tmp_path}/projects/12/champion cannot be read (Is a directory); mend that"

    result = invoke("versions", "--project", "12")
    assert (result.exit_code, result.stderr) == (1, f"Error: {broken['problem']}.\n")


def test_a_project_that_cannot_be_read_hides_no_other_project_and_no_request(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    (tmp_path / "projects" / "12").touch()

    result = invoke("versions")
    assert result.exit_code == 1 and result.stdout.count("\n3\tv") == 2
    assert result.stderr == f"Error: {tmp_path}/projects/12/champion cannot be read (Not a directory); mend that.\n"
    assert {version["project"] for version in json.loads(invoke("versions", "--json").stdout)} == {3}

    result = invoke("train", "--now")
    assert (result.exit_code, result.stdout) == (1, "project 3: a round is asked for\n")


def test_a_champion_that_is_gone_is_a_problem(invoke: Invoke, folder: ProjectFolder) -> None:
    (folder.path / "champion").write_text("v9-20250101-000000\n")

    problem = rows(invoke("status"))[0]["problem"]

    assert problem == "the champion v9-20250101-000000 is not among the versions; roll back, or promote another one"


@pytest.mark.parametrize("arguments", [["status"], ["versions"], ["train"], ["train", "--now"]])
def test_a_project_that_is_not_known_is_named_beside_those_that_are(
    invoke: Invoke, folder: ProjectFolder, arguments: list[str], tmp_path: Path
) -> None:
    result = invoke(*arguments, "--project", "99")

    advice = "`pairloop-backend connect --project 99` connects it"
    assert result.exit_code == 1
    assert result.output == f"Error: Project 99 is not known in MODEL_DIR={tmp_path}, which knows: 3; {advice}.\n"
    assert not (tmp_path / "projects" / "99").exists()


def test_where_no_project_is_known_there_is_one_thing_to_do(invoke: Invoke, tmp_path: Path) -> None:
    advice = "`pairloop-backend connect --project ID` connects one"

    status = invoke("status")
    assert (status.exit_code, status.output) == (
        0, f"trainer: not running on {tmp_path}\nno project is known; {advice}\n",
    )  # fmt: skip
    for arguments in (["versions"], ["train"], ["train", "--now"]):
        result = invoke(*arguments)
        assert (result.exit_code, result.output) == (1, f"Error: No project is known in MODEL_DIR={tmp_path}; {advice}.\n")


@pytest.mark.parametrize("name", SHARED)
def test_wrong_settings_end_every_command_with_all_of_them(invoke: Invoke, name: str) -> None:
    needed = {"promote": ["--project", "3", "v1"], "rollback": ["--project", "3"]}

    result = invoke(name, *needed.get(name, []), MIN_PAIRS="2", TRAIN_SCHEDULE="whenever")

    assert result.exit_code == 2
    assert "TRAIN_SCHEDULE='whenever' is wrong: " in result.stderr and "MIN_PAIRS='2' is wrong: " in result.stderr


# train


def test_train_says_what_each_project_waits_for(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    beat(tmp_path)
    tell_waiting(folder, 12)
    tell_next_round(tmp_path, time.time() + 5 * 3600, schedule="0 3 * * *", min_new_pairs=50)
    others = [ProjectFolder(tmp_path, project_id) for project_id in (4, 5, 6)]
    for other in others:
        other.create()
    tell_waiting(others[0], 3, project={"training_since": time.time() - 600})
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


def test_train_without_a_trainer_says_how_there_is_one(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    tell_waiting(folder, 12, project={"training_since": time.time() - 600})
    tell_next_round(tmp_path, time.time() + 9999, schedule="6h", min_new_pairs=70)  # it was stopped since

    assert invoke("train", "--project", "3").output.splitlines() == [
        f"trainer: not running on {tmp_path}",
        "project 3: 12 new judgements, 50 start a round",
        "start `pairloop-trainer run`, or train right here: `pairloop-trainer once --project 3`",
    ]


def test_train_now_leaves_a_request_for_each_project_and_says_when_it_is_taken(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    beat(tmp_path)
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
    beat(tmp_path)
    other = ProjectFolder(tmp_path, 12)
    other.create()
    tell_waiting(other, 3, project={"training_since": time.time()})

    result = invoke("train", "--now", "--project", "3")

    assert result.output == "project 3: a round is asked for; the trainer takes that after the round of project 12\n"
    assert folder.is_requested("train") and not other.is_requested("train")


def test_train_now_without_a_trainer_leaves_the_request_and_fails(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    result = invoke("train", "--now", "--project", "3")

    assert (result.exit_code, result.stdout) == (1, "project 3: a round is asked for\n")
    mend = "start `pairloop-trainer run`, or train right here: `pairloop-trainer once --project 3`"
    assert result.stderr == f"Error: No trainer is running on MODEL_DIR={tmp_path}, so that waits; {mend}.\n"
    assert folder.is_requested("train")


def test_train_now_is_refused_for_a_disconnected_project(invoke: Invoke, folder: ProjectFolder) -> None:
    folder.disconnect()

    result = invoke("train", "--now", "--project", "3")

    assert result.exit_code == 1
    assert result.output.startswith("Error: Project 3 is disconnected, so no trainer looks after it; ")
    assert not folder.is_requested("train")


# promote and rollback


def test_promote_moves_the_pointer_to_an_older_or_a_newer_version(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    for version in (second, first):
        result = invoke("promote", "--project", "3", version)
        assert result.exit_code == 0
        assert result.output == f"project 3: {version} is the champion; backends load it within a second\n"
        assert Versions(folder).champion() == version
        assert [row["version"] for row in rows(invoke("versions")) if row["champion"] == "*"] == [version]


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    result = invoke("promote", "--project", "3", "v9-20250101-000000")

    assert result.exit_code == 1
    assert result.output == f"Error: Project 3 has no version 'v9-20250101-000000'; it has: {first}, {second}.\n"
    assert Versions(folder).champion() == first


@pytest.mark.parametrize("version", ["../../3/versions", "latest", ""])
def test_what_is_no_version_name_is_refused(invoke: Invoke, folder: ProjectFolder, version: str) -> None:
    result = invoke("promote", "--project", "3", version)

    assert result.exit_code == 1
    assert f"Project 3 has no version {version!r}" in result.output


def test_a_reason_in_another_encoding_than_the_terminals_is_kept_as_far_as_it_goes(invoke: Invoke, folder: ProjectFolder) -> None:
    second = Versions(folder).all()[1]

    assert invoke("promote", "--project", "3", second, "--reason", "caf\udce9").exit_code == 0

    assert (Versions(folder).champion(), Versions(folder).card(second).promotions[-1]["reason"]) == (second, "caf?")


@pytest.mark.parametrize(
    "line", ['{"at": "2099", "by": "hand", "before": 5}', '{"at": "2099", "by": "hand", "before": [1]}', "[" * 9999]
)
def test_a_damaged_log_of_promotions_is_no_trace(invoke: Invoke, folder: ProjectFolder, line: str) -> None:
    first, second = Versions(folder).all()
    Versions(folder).promote(second)
    with (Versions(folder).path(second) / "promotions.jsonl").open("a") as log:
        log.write(line + "\n")

    result = invoke("rollback", "--project", "3")

    assert (result.exit_code, Versions(folder).champion()) == (0, first), result.output


def test_promote_needs_a_project(invoke: Invoke) -> None:
    result = invoke("promote", "v1-20250101-000000")

    assert result.exit_code == 2
    assert "Missing option '--project'" in result.output


def test_rollback_serves_the_champion_before(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    invoke("promote", "--project", "3", second)

    result = invoke("rollback", "--project", "3", "--reason", "too short")

    assert result.exit_code == 0
    assert result.output == f"project 3: {first} is the champion again; backends load it within a second\n"
    assert Versions(folder).champion() == first
    assert Versions(folder).card(first).promotions[-1]["reason"] == "too short"


def test_rollback_without_a_champion_before_says_what_to_do(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    result = invoke("rollback", "--project", "3")

    assert result.exit_code == 1
    assert result.output == f"Error: Project 3 has no champion before {first} in its log; promote one of: {first}, {second}.\n"


# On a terminal


def on_terminal(program: str, *arguments: str, model_dir: Path, columns: int) -> list[str]:
    """The lines that a command prints on a terminal of that width, as they are seen."""
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
    except OSError:  # Linux says so where the last process has left the terminal
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
    said = " ".join(line.removeprefix("    made champion").strip() for line in lines[begin:])
    assert (
        said == f"{made_at(folder, second)} UTC by hand after {first}: {Versions(folder).card(second).promotions[-1]['reason']}"
    )


def test_on_a_terminal_status_fits_80_columns(folder: ProjectFolder, tmp_path: Path) -> None:
    _, second = Versions(folder).all()
    tell_waiting(folder, 1200)
    folder.request("train")
    folder.request("fill")
    tell_round(folder, "rejected", reason="accuracy 0.600 is below the champion's beyond noise", version=second, seconds=4)

    lines = on_terminal("pairloop-trainer", "status", model_dir=tmp_path, columns=80)

    assert lines[0] == f"trainer: not running on {tmp_path}"
    assert all(len(line) <= 80 for line in lines[1:]), lines
    assert f"      3  {Versions(folder).champion()}" in "\n".join(lines)
    assert any("1200 of 50" in line and line.endswith("train, fill") for line in lines)
    assert any(line.startswith(f"    last round  rejected {second}, ") for line in lines)


def test_a_reader_that_leaves_early_ends_a_command_without_a_trace(folder: ProjectFolder, tmp_path: Path) -> None:
    Versions(folder).promote(Versions(folder).all()[1], reason="x" * 200_000)  # more than a pipe holds
    program = str(Path(sys.executable).with_name("pairloop-trainer"))
    environ = {**os.environ, "MODEL_DIR": str(tmp_path)}
    with subprocess.Popen([program, "versions"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(7)
        process.stdout.close()
        assert process.stderr.read() == b""
