"""What people wrote, as files for other trainers."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from preference.errors import ExportError
from preference.labelling.controls.criteria import conditions
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.holdout import Holdout
from tests.support.annotations import PROMPTS, tag_result
from tests.support.templates import RECORDED
from trainer.exporting.demonstrations import export_demonstrations
from trainer.exporting.export import Exported
from trainer.exporting.export_rows import Format

LABEL_CONFIG = RECORDED["generative-ai/supervised-llm"].replace("</View>", '<Rating name="clarity" toName="prompt"/></View>')


def written(text: str | None, **changes: Any) -> dict[str, Any]:
    result = [] if text is None else [tag_result("instruction", "textarea", {"text": [text]})]
    made = {"id": 1, "result": result, "was_cancelled": False, "completed_by": 5, "parent_prediction": None}
    return {**made, "created_at": "2026-11-21T12:02:04.939797Z", **changes}


def task(*annotations: dict[str, Any], prompt: str = "Why?", draft: str = "A draft.") -> dict[str, Any]:
    prediction = {"id": 31, "model_version": "pairloop-untrained", "result": written(draft)["result"]}
    return {"id": 7, "data": {"prompt": prompt}, "annotations": list(annotations), "predictions": [prediction]}


def export(tasks: list[dict[str, Any]], path: Path, format_name: Format = "sft", **options: Any) -> Exported:
    layout = DemonstrationLayout.of(LABEL_CONFIG)
    assert layout is not None
    return export_demonstrations(tasks, path, format_name=format_name, layout=layout, **{"holdout": Holdout(0.2), **options})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_people_wrote_is_prompt_and_completion(tmp_path: Path) -> None:
    path = tmp_path / "written.jsonl"
    done = export([task(written(f"Answer {n}."), prompt=prompt) for n, prompt in enumerate(PROMPTS[:40])], path)
    rows = rows_of(path)
    assert [(row["prompt"], row["completion"]) for row in rows] == [(p, f"Answer {n}.") for n, p in enumerate(PROMPTS[:40])]
    assert [row["split"] for row in rows] == ["holdout" if Holdout(0.2).has(p) else "train" for p in PROMPTS[:40]]
    assert (done.num_train + done.num_holdout, done.num_unused) == (40, 0) and done.num_holdout
    assert {key: rows[0][key] for key in ("task_id", "annotator_id", "draft", "judged_at", "criteria")} == {
        "task_id": 7, "annotator_id": 5, "draft": "none", "judged_at": "2026-11-21T12:02:04.939797Z", "criteria": "{}"
    }  # fmt: skip


def test_the_columns_of_a_csv_are_named_as_label_studio_names_them(tmp_path: Path) -> None:
    export([task(written('Say "no",\nthen.'))], tmp_path / "written.csv", "csv")
    with (tmp_path / "written.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row)[:2] == ["prompt", "instruction"]
    assert (row["prompt"], row["instruction"]) == ("Why?", 'Say "no",\nthen.')


def test_it_says_what_became_of_the_draft(tmp_path: Path) -> None:
    made_from = {"parent_prediction": 31}
    annotations = [written("A draft. ", id=1, **made_from), written("Mine.", id=2, **made_from), written("Another.", id=3)]
    export([task(*annotations)], tmp_path / "w.jsonl")
    assert [row["draft"] for row in rows_of(tmp_path / "w.jsonl")] == ["kept", "edited", "none"]


def test_messages_for_models_with_a_chat_template(tmp_path: Path) -> None:
    export([task(written("Mine."))], tmp_path / "w.jsonl", conversational=True)
    (row,) = rows_of(tmp_path / "w.jsonl")
    assert row["prompt"] == [{"role": "user", "content": "Why?"}]
    assert row["completion"] == [{"role": "assistant", "content": "Mine."}]


def test_what_becomes_no_row_is_counted(tmp_path: Path) -> None:
    clear = written("Mine.", id=4)
    clear["result"].append(tag_result("clarity", "rating", {"rating": 4}))
    annotations = [written("Skipped.", was_cancelled=True), written(None), written("Unclear.", id=3), clear, {**clear, "id": 5}]
    done = export([task(*annotations), task(clear, prompt=" ")], tmp_path / "w.jsonl", where=conditions("clarity>3"))
    assert [row["completion"] for row in rows_of(tmp_path / "w.jsonl")] == ["Mine."]
    expected = {"skipped": 1, "empty": 1, "filtered out": 1, "the same as another": 1, "missing prompt": 1}
    assert done.excluded == expected


def test_ground_truth_is_preferred_if_asked_for(tmp_path: Path) -> None:
    annotations = [written("Mine."), written("True.", id=2, ground_truth=True)]
    done = export([task(*annotations)], tmp_path / "w.jsonl", prefer_ground_truth=True)
    assert [row["completion"] for row in rows_of(tmp_path / "w.jsonl")] == ["True."]
    assert done.excluded == {"not ground truth": 1}


@pytest.mark.parametrize("format_name", ["trl", "kto", "hindsight"])
def test_there_are_no_pairs_to_export(tmp_path: Path, format_name: Format) -> None:
    with pytest.raises(ExportError, match=rf"no pairs for --format {format_name}; export --format sft, or csv\."):
        export([task(written("Mine."))], tmp_path / "w.jsonl", format_name)


def test_nothing_is_written_if_nobody_wrote(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"There is nothing to export \(1 empty\); write some answers first\."):
        export([task(written(None))], tmp_path / "w.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_condition_on_no_control_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"--where tone=kind: .* it has: clarity\."):
        export([task(written("Mine."))], tmp_path / "w.jsonl", where=conditions("tone=kind"))
