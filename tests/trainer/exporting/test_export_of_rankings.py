"""What `pairloop-trainer export` writes of rankings."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from preference.errors import ExportError
from preference.labelling.holdout import Holdout
from tests.support.ranked_lists import ORDERED, listed, ranking
from trainer.exporting.export import Exported, export_judgements
from trainer.exporting.export_rows import Format


def export(path: Path, format_name: Format, tasks: list[dict[str, Any]]) -> Exported:
    return export_judgements(tasks, path, format_name=format_name, layout=ORDERED, holdout=Holdout(0.3))


def ranked_tasks() -> list[dict[str, Any]]:
    tasks = [listed(ranking("bca", id=number), id=number) for number in range(1, 21)]
    for number, task in enumerate(tasks):
        task["data"]["prompt"] = f"Question {number}?"
    return tasks


def test_a_ranking_is_a_row_for_each_of_its_pairs_all_with_one_split(tmp_path: Path) -> None:
    done = export(tmp_path / "pairs.jsonl", "trl", ranked_tasks())

    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    splits = {row["task_id"]: {other["split"] for other in rows if other["task_id"] == row["task_id"]} for row in rows}

    assert (len(rows), done.num_train + done.num_holdout, done.excluded) == (60, 60, Counter())
    assert done.num_holdout > 0 and done.num_holdout % 3 == 0 and all(len(split) == 1 for split in splits.values())
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("Two.", "Three."), ("Two.", "One."), ("Three.", "One.")}
    assert {(row["kind"], round(row["weight"], 6)) for row in rows} == {("ranking", 0.333333)}


def test_csv_has_the_same_rows(tmp_path: Path) -> None:
    export(tmp_path / "pairs.csv", "csv", ranked_tasks())

    with (tmp_path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        assert Counter(row["kind"] for row in csv.DictReader(file)) == {"ranking": 60}


def test_rankings_are_no_demonstrations(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"There are no demonstrations to export \(20 without a written answer\)"):
        export(tmp_path / "written.jsonl", "sft", ranked_tasks())
