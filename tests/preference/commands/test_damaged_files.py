import json
from pathlib import Path
from typing import Any

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import mark_alive
from preference.projects.versions import Versions
from tests.support.commands import SHARED, Invoke, rows

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
    mark_alive(tmp_path)

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
    assert broken["problem"] == f"{tmp_path}/projects/12/champion cannot be read (Is a directory); fix or remove it"

    result = invoke("versions", "--project", "12")
    assert (result.exit_code, result.stderr) == (1, f"Error: {broken['problem']}.\n")


def test_a_project_that_cannot_be_read_hides_no_other_project_and_no_request(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    (tmp_path / "projects" / "12").touch()

    result = invoke("versions")
    assert result.exit_code == 1 and result.stdout.count("\n3\tv") == 2
    assert result.stderr == f"Error: {tmp_path}/projects/12/champion cannot be read (Not a directory); fix or remove it.\n"
    assert {version["project"] for version in json.loads(invoke("versions", "--json").stdout)} == {3}

    result = invoke("train", "--now")
    assert (result.exit_code, result.stdout) == (1, "project 3: a round is asked for\n")


def test_a_deleted_champion_is_a_problem(invoke: Invoke, folder: ProjectFolder) -> None:
    (folder.path / "champion").write_text("v9-20250101-000000\n")

    problem = rows(invoke("status"))[0]["problem"]

    assert problem == "the champion v9-20250101-000000 is not among the versions; roll back, or promote another one"


@pytest.mark.parametrize("arguments", [["status"], ["versions"], ["train"], ["train", "--now"]])
def test_an_unknown_project_is_named_beside_the_known_ones(
    invoke: Invoke, folder: ProjectFolder, arguments: list[str], tmp_path: Path
) -> None:
    result = invoke(*arguments, "--project", "99")

    advice = "`pairloop-backend connect --project 99` connects it"
    assert result.exit_code == 1
    assert result.output == f"Error: Project 99 is not known in MODEL_DIR={tmp_path}, which knows: 3; {advice}.\n"
    assert not (tmp_path / "projects" / "99").exists()


def test_without_a_known_project_there_is_one_thing_to_do(invoke: Invoke, tmp_path: Path) -> None:
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
    needed = {"promote": ["--project", "3", "v1"], "rollback": ["--project", "3"], "score": ["--project", "3"]}

    result = invoke(name, *needed.get(name, []), MIN_PAIRS="2", TRAIN_SCHEDULE="whenever")

    assert result.exit_code == 2
    assert "TRAIN_SCHEDULE='whenever' is wrong: " in result.stderr and "MIN_PAIRS='2' is wrong: " in result.stderr
