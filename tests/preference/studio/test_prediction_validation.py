from typing import Any

import pytest

from preference.studio.prediction_validation import prediction_problems
from tests.support.studio_records import LABEL_CONFIG


def prediction(**changes: Any) -> dict[str, Any]:
    region = {"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}
    return {"result": [{**region, **changes.pop("region", {})}], "score": 0.8, "model_version": "v1", **changes}


def test_a_prediction_as_label_studio_takes_it_has_no_problem() -> None:
    assert prediction_problems(LABEL_CONFIG, prediction()) == []
    assert prediction_problems(LABEL_CONFIG, {**prediction(), "result": []}) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"region": {"to_name": "comparison"}}, "Region 0: 'to_name' 'comparison' not found in configuration"),
        ({"region": {"from_name": "verdict2"}}, "Region 0: 'from_name' 'verdict2' not found in configuration"),
        ({"score": 2}, "Score must be between 0.00 and 1.00 inclusive, got 2.0"),
    ],
)
def test_a_prediction_that_label_studio_would_drop_is_reported(changes: dict[str, Any], problem: str) -> None:
    assert prediction_problems(LABEL_CONFIG, prediction(**changes)) == [problem]


def test_a_label_config_that_the_sdk_cannot_read_is_an_error_of_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"label-studio-sdk cannot read the label config \(\w+\)"):
        prediction_problems("<View>", prediction())
