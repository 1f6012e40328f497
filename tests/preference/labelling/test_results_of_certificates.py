from collections import Counter

import pytest

from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import certified_mark, version_behind
from preference.labelling.task_pairs import pairs_of_task
from tests.support.judgement_house import LEFT
from tests.support.studio_records import LABEL_CONFIG

VERSION = "v3-20260920-120000"


def test_a_mark_says_whose_side_it_is_and_holds_no_versions_name() -> None:
    mark = certified_mark(VERSION, 12)
    assert mark == "certified-3-20260920-120000-c12" and VERSION not in mark
    assert version_behind(mark) == VERSION


@pytest.mark.parametrize("other", [VERSION, None, "certified-mine", "a neighbour's model"])
def test_of_any_other_prediction_it_is_the_model_version(other: str | None) -> None:
    assert version_behind(other) == other


def test_who_judges_from_a_marked_prediction_saw_the_side_of_its_version() -> None:
    annotation = {"id": 1, "result": LEFT, "parent_prediction": 5}
    prediction = {"id": 5, "result": LEFT, "score": 0.97, "model_version": certified_mark(VERSION, 1)}
    task = {
        "id": 7,
        "data": {"prompt": "p", "answer1": "a", "answer2": "b"},
        "annotations": [annotation],
        "predictions": [prediction],
    }
    (pair,) = pairs_of_task(task, LabelingLayout.from_label_config(LABEL_CONFIG), dropped=Counter())
    assert (pair.suggested_version, pair.suggested_side, pair.is_lit, pair.is_blind) == (VERSION, "left", True, False)
