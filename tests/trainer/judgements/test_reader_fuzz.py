"""Judged tasks that hold any JSON, beside one that is as it should be: they are read, paired, exported and marked all the same."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from preference.report_card.figures import SuspectLabel
from preference.settings import Settings
from preference.studio.task import as_task
from tests.support.json_values import DATA, FUZZED, JSON, META, RESULT
from tests.support.judgement_house import LEFT, House
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG
from trainer.exporting.export import export_judgements
from trainer.judgements.new_judgements import reach_of
from trainer.judgements.reader import read_judgements
from trainer.reporting.suspect_labels import META_KEY, mark_suspects

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
ODD = st.fixed_dictionaries({"data": DATA, "meta": META, "results": st.lists(RESULT, min_size=1, max_size=2)})


@FUZZED
@given(st.lists(ODD, min_size=1, max_size=4))
def test_the_judgement_of_a_proper_task_counts_beside_any_other_task(
    studio: StudioDouble, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, odds: list[dict[str, Any]]
) -> None:
    house = House(studio, settings, caplog)
    ids = studio.add_tasks(house.project.id, {"prompt": "Why?", "answer1": "So.", "answer2": "No."}, *({} for _ in odds))
    studio.annotate(ids[0], LEFT)
    for task_id, odd in zip(ids[1:], odds, strict=True):
        studio.tasks[task_id].update(data=odd["data"], meta=odd["meta"])
        for result in odd["results"]:
            studio.annotate(task_id, result)

    folder = tmp_path / str(house.project.id)
    tasks = read_judgements(house.project, folder, state=house.project.read(), now=house.now)
    assert read_judgements(house.project, folder, state=house.project.read(), now=house.now) == tasks, "as they are kept"
    dropped: Counter[str] = Counter()
    pairs = [pair for task in tasks for pair in pairs_of_task(task, LAYOUT, dropped=dropped)]
    exported = export_judgements(tasks, tmp_path / "all.jsonl", format_name="trl", layout=LAYOUT, holdout=Holdout(0.2))
    counts = mark_suspects(house.project, [SuspectLabel(task=task_id) for task_id in ids], version="v1")

    assert len(tasks) == len(ids)
    assert [pair.chosen for pair in pairs if pair.task_id == ids[0]] == ["So."]
    assert exported.num_train + exported.num_holdout >= 1
    assert counts["marked"] == sum(isinstance(studio.tasks[task_id]["meta"], dict) for task_id in ids)
    for task_id, odd in zip(ids[1:], odds, strict=True):
        meta = studio.tasks[task_id]["meta"]
        others = {key: value for key, value in meta.items() if key != META_KEY} if isinstance(meta, dict) else meta
        before = (
            {key: value for key, value in odd["meta"].items() if key != META_KEY}
            if isinstance(odd["meta"], dict)
            else odd["meta"]
        )
        assert others == (before or others)


LISTED = st.fixed_dictionaries(
    {"id": st.just(1), "updated_at": st.just("2026-11-29T12:00:00Z")},
    optional={
        "data": DATA,
        "meta": META,
        "annotations": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"id": st.just(7) | JSON, "result": RESULT, "was_cancelled": JSON, "updated_at": JSON},
                optional=dict.fromkeys(("completed_by", "created_at", "lead_time", "parent_prediction", "ground_truth"), JSON),
            )
            | JSON,
            max_size=3,
        ),
        "predictions": JSON
        | st.lists(
            st.fixed_dictionaries({"id": st.just(7) | JSON}, optional=dict.fromkeys(("result", "score", "model_version"), JSON)),
            max_size=3,
        ),
    },
)


@FUZZED
@given(LISTED)
def test_a_list_of_any_shape_becomes_tasks_that_can_be_read(listed: dict[str, Any]) -> None:
    task = as_task({"annotations": [], "data": {}, **listed})

    pairs = pairs_of_task(task, LAYOUT, dropped=Counter(), prefer_ground_truth=True)

    assert reach_of([task]).newest_annotation in (None, *(annotation["id"] for annotation in task["annotations"]))
    assert all(isinstance(pair.annotator_id, int | None) for pair in pairs)
    assert len(set(pairs)) <= len(pairs), "each can be a key"
