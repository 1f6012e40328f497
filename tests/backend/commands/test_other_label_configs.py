"""The commands on projects that collect demonstrations or order lists: they are connected, looked after and filled like any other."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.clinic import PASSWORD, Clinic
from tests.support.studio_double import StudioDouble
from tests.support.templates import RECORDED

LABEL_CONFIG = RECORDED["generative-ai/supervised-llm"]
ORDERING = RECORDED["generative-ai/llm-ranker"]
NOTE = "people write answers (instruction): each task gets a draft, nothing is trained, and export --format sft writes them"


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        studio.projects[clinic.id]["label_config"] = LABEL_CONFIG
        yield clinic


def test_connect_says_what_becomes_of_it_and_promises_no_model(clinic: Clinic) -> None:
    result = clinic.run("connect", "--project", clinic.id)

    assert result.exit_code == 0 and f"note: {NOTE}\n" in result.output
    assert "reward model" not in result.output


def test_doctor_finds_it_well(clinic: Clinic) -> None:
    clinic.studio.add_tasks(clinic.id, {"prompt": "Why?"})

    rows = clinic.doctor()

    assert [row for row in rows.values() if row["ok"] is False] == []
    assert rows["label config"]["found"] == f"instruction takes answers to $prompt; {NOTE}"
    assert rows["prediction format"]["found"] == "Label Studio's validation takes a prediction"


def test_fill_drafts_its_open_tasks(clinic: Clinic) -> None:
    ids = clinic.studio.add_tasks(clinic.id, {"prompt": "Why?"}, {"prompt": "Who?"})

    result = clinic.run("fill", "--project", clinic.id)

    assert result.exit_code == 0, result.output
    assert f"project {clinic.id}: 2 tasks lack an answer" in result.output
    assert [len(clinic.studio.tasks[task_id]["predictions"]) for task_id in ids] == [1, 1]


def test_its_pages_are_not_held_up(clinic: Clinic) -> None:
    body = {"tasks": [{"id": 1, "data": {"prompt": "Why?"}}], "project": f"{clinic.id}.1", "label_config": LABEL_CONFIG}
    answer = httpx.post(f"{clinic.address}/predict", json=body, auth=("ls", PASSWORD))
    assert (answer.status_code, answer.json()) == (200, {"results": [[]]})


def test_a_project_whose_people_order_lists_is_connected_well_and_filled(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = ORDERING
    (task_id,) = clinic.studio.add_tasks(clinic.id, {"prompt": "Why?", "task": "Rank.", "items": []})

    connected, rows = clinic.run("connect", "--project", clinic.id), clinic.doctor()
    filled = clinic.run("fill", "--project", clinic.id)

    assert connected.exit_code == 0 and "note:" not in connected.output and "reward model" in connected.output
    assert [row for row in rows.values() if row["ok"] is False] == []
    assert rows["label config"]["found"] == "rank orders $items of $prompt"
    assert "1 task lacks an answer" in filled.output
    assert len(clinic.studio.tasks[task_id]["data"]["items"]) == 2


@pytest.mark.parametrize("command", ["import", "connect"])
def test_prompts_are_imported_in_label_studio(clinic: Clinic, tmp_path: Path, command: str) -> None:
    (tmp_path / "prompts.txt").write_text("Why?\n")
    (tmp_path / "config.xml").write_text(LABEL_CONFIG)
    num_projects = len(clinic.studio.projects)

    if command == "import":
        result = clinic.run("import", tmp_path / "prompts.txt", "--project", clinic.id)
    else:
        own = ["--label-config", tmp_path / "config.xml", "--prompts", tmp_path / "prompts.txt"]
        result = clinic.run("connect", "--new", "Written", *own)

    assert result.exit_code == 1
    assert "no comparison: import its prompts on its page in Label Studio, and they get drafts." in result.output
    assert len(clinic.studio.projects) == num_projects
