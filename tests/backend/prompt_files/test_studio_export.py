"""Exports as label-studio 1.23.2 writes them; tests/end_to_end/test_importing.py brings those of a real one."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backend.prompt_files.prompt_file import PromptFile
from preference.errors import PromptFileError
from preference.labelling.task_pairs import pairs_of_task
from preference.studio.task import Task
from tests.support.filling_house import CHOICE, LAYOUT

DATA = {"prompt": "Name a tree.", "answer1": "Oak.", "answer2": "No."}
ANN = {"id": 2, "email": "ann@example.com", "first_name": "", "last_name": ""}
TASK: dict[str, Any] = {
    "id": 40, "inner_id": 3, "project": 2, "data": DATA, "meta": {"pairloop": {"generator": "echo"}}, "drafts": [], "state": "CREATED",
    "created_at": "2026-01-02T03:04:05.000000Z", "updated_at": "2026-01-02T03:04:05.000000Z", "file_upload": None,
    "total_annotations": 1, "cancelled_annotations": 1, "total_predictions": 1, "comment_count": 0, "comment_authors": [],
    "annotations": [
        {"id": 7, "completed_by": ANN, "result": CHOICE, "was_cancelled": False, "ground_truth": True, "lead_time": 4.5, "task": 40,
         "created_at": "2026-01-02T03:04:05.000000Z", "parent_prediction": 9, "prediction": {}, "unique_id": "u"},
        {"id": 8, "completed_by": 3, "result": [], "was_cancelled": True, "ground_truth": False, "lead_time": None, "task": 40},
    ],
    "predictions": [{"id": 9, "model_version": "v1", "score": 0.75, "result": CHOICE, "task": 40, "created_ago": "1 hour"}],
}  # fmt: skip
OF_ROW = {"id": 40, "annotator": 2, "annotation_id": 7, "created_at": "x", "updated_at": "x", "lead_time": 4.5}
CHOSEN = [{"selected": "left"}]


def read(tmp_path: Path, *rows: Any, name: str = "export.json") -> tuple[list[Task], Counter[str]]:
    path = tmp_path / name
    path.write_text(json.dumps(rows), encoding="utf-8")
    tasks = PromptFile(path, LAYOUT)
    return list(iter(tasks)), tasks.remarks


def refusal(tmp_path: Path, *rows: Any) -> str:
    with pytest.raises(PromptFileError) as refused:
        read(tmp_path, *rows)
    return str(refused.value).removeprefix(f"{tmp_path}/")


# JSON


def test_annotations_predictions_ground_truth_and_meta_come_along(tmp_path: Path) -> None:
    (task,), remarks = read(tmp_path, TASK)

    assert task == {
        "data": DATA,
        "meta": TASK["meta"],
        "annotations": [
            {"result": CHOICE, "ground_truth": True, "was_cancelled": False, "lead_time": 4.5, "completed_by": ANN},
            {"result": [], "ground_truth": False, "was_cancelled": True, "completed_by": 3},
        ],
        "predictions": [{"result": CHOICE, "score": 0.75, "model_version": "v1"}],
    }
    assert remarks == {}


def test_what_the_import_does_not_take_is_counted_by_name(tmp_path: Path) -> None:
    """In the usual export a prediction is its number."""
    draft = {"id": 3, "result": CHOICE, "user": "ann@example.com"}
    row = {**TASK, "predictions": [9, 10], "drafts": [draft], "topic": "tea", "notes": ""}

    (task,), remarks = read(tmp_path, row)

    assert "predictions" not in task and len(task["annotations"]) == 2
    assert remarks == {
        "left behind, a prediction of which the file has only the number": 2,
        "left behind, a draft that nobody submitted": 1,
        'left behind, "topic" beside "data"': 1,
    }


def test_a_judgement_is_no_ground_truth_unless_the_file_says_so(tmp_path: Path) -> None:
    (task,), _ = read(tmp_path, {"data": DATA, "annotations": [{"result": CHOICE}]})

    assert task["annotations"] == [{"result": CHOICE, "ground_truth": False, "was_cancelled": False}]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"annotations": {"result": []}}, 'export.json, row 2: "annotations" is no list.'),
        ({"annotations": [{"was_cancelled": True}]}, 'export.json, row 2: an annotation has no list as its "result".'),
        ({"annotations": [7]}, 'export.json, row 2: an annotation has no list as its "result".'),
        ({"predictions": "v1"}, 'export.json, row 2: "predictions" is no list.'),
        ({"data": {"text": "x"}}, 'export.json, row 2: no prompt; it should be a text, or an object whose "prompt" is a text.'),
    ],
)
def test_an_export_that_lost_its_shape_is_refused(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    assert refusal(tmp_path, TASK, {**TASK, **fields}) == sentence


# JSON-MIN, and CSV


def test_rows_of_json_min_are_one_task_with_all_its_judgements(tmp_path: Path) -> None:
    rows = [
        {**DATA, **OF_ROW, "comparison": CHOSEN, "strength": [{"rating": 3}], "reward1": [{"number": 1.5}]},
        {**DATA, **OF_ROW, "annotation_id": 8, "annotator": 3, "verdict": "tie", "better_answer": "Ash."},
        {**DATA, **OF_ROW, "id": 41, "annotation_id": None, "annotator": None, "prompt": "Name a bird."},
    ]

    tasks, remarks = read(tmp_path, *rows)

    assert [task["data"] for task in tasks] == [DATA, {**DATA, "prompt": "Name a bird."}] and not remarks
    first, second = tasks[0]["annotations"]
    assert (first["completed_by"], second["completed_by"], first["lead_time"]) == (2, 3, 4.5)
    assert first["result"] == [
        {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}},
        {"from_name": "reward1", "to_name": "answer1", "type": "number", "value": {"number": 1.5}},
        {"from_name": "strength", "to_name": "prompt", "type": "rating", "value": {"rating": 3}},
    ]
    pairs = pairs_of_task(tasks[0], LAYOUT, dropped=Counter())
    assert [(pair.chosen, pair.kind) for pair in pairs] == [
        ("Oak.", "vote"), ("Oak.", "tie"), ("No.", "tie"), ("Ash.", "written"), ("Ash.", "written")
    ]  # fmt: skip
    assert pairs[0].margin == pytest.approx(2 / 3)
    assert "annotations" not in tasks[1]


def test_rows_of_csv_are_read_alike(tmp_path: Path) -> None:
    row = {**DATA, **OF_ROW, "comparison": json.dumps(CHOSEN), "verdict": "", "strength": json.dumps([{"rating": 3}])}
    file = io.StringIO()
    table = csv.DictWriter(file, sorted(row), quoting=csv.QUOTE_NONNUMERIC)
    table.writeheader()
    table.writerow(row)
    path = tmp_path / "export.csv"
    path.write_text(file.getvalue(), encoding="utf-8")

    (task,) = iter(PromptFile(path, LAYOUT))

    assert task["data"] == DATA
    (made,) = task["annotations"]
    assert str(made["completed_by"]) == "2" and made["lead_time"] == 4.5
    assert [region["value"] for region in made["result"]] == [{"selected": "left"}, {"rating": 3}]


def test_a_judgement_of_another_control_is_refused_rather_than_taken_for_data(tmp_path: Path) -> None:
    assert refusal(tmp_path, {**DATA, **OF_ROW, "pw": CHOSEN}) == (
        'export.json, row 1: its judgement is of a control "pw", which the label config lacks; '
        'name the control so there, or export as "JSON".'
    )
