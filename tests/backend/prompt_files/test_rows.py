"""Whatever a file's rows are, they become tasks that Label Studio takes, or one sentence says which of them cannot."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.prompt_files.rows import Rows
from preference.errors import PromptFileError
from preference.studio.task import Task
from tests.support.filling_house import LAYOUT

COLUMNS = [
    "prompt", "answer1", "answer2", "chosen", "rejected", "messages", "completion", "history", "human_ref_A", "human_ref_B", "labels",
    "conversation_a", "conversation_b", "winner", "response_a", "response_b", "response_1", "response_2", "preference_strength",
    "response", "helpfulness", "message_id", "parent_id", "message_tree_id", "text", "role", "rank", "replies", "data", "annotations",
    "predictions", "meta", "drafts", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id", "comparison",
    "verdict", "content", "result", "completed_by", "ground_truth", "deleted", "from", "value",
]  # fmt: skip
TEXTS = st.sampled_from(["", " ", "user", "assistant", "\n\nHuman: a\n\nAssistant: b", "[", '[{"role": 1}]', "nan", "x"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(COLUMNS), inner, max_size=5)
)
KNOWN = [
    {"prompt", "chosen", "rejected"},
    {"conversation_a", "conversation_b", "winner"},
    {"prompt", "response_a", "response_b"},
    {"history", "human_ref_A", "human_ref_B", "labels"},
    {"prompt", "response_1", "response_2", "preference_strength"},
    {"prompt", "response", "helpfulness"},
    {"message_id", "parent_id", "message_tree_id", "text", "role", "rank"},
    {"prompt", "completion"},
    {"messages"},
    {"data", "annotations", "predictions", "drafts", "meta"},
    {"prompt", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "comparison", "verdict"},
]


def read(*rows: Any, judged: bool = False) -> list[Task]:
    return list(Rows(LAYOUT, judged=judged).tasks(enumerate(rows, 1), where=lambda place: f"row {place}"))


@st.composite
def files(draw: st.DrawFn) -> list[Any]:
    """Rows of one shape, and some of none."""
    columns = sorted(draw(st.sampled_from(KNOWN)) | draw(st.sets(st.sampled_from(COLUMNS), max_size=3)))
    shaped = st.fixed_dictionaries(dict.fromkeys(columns, VALUES))
    return draw(st.lists(shaped, min_size=1, max_size=4)) + draw(st.lists(VALUES, max_size=1))


@given(files(), st.booleans())
def test_rows_of_any_shape_are_tasks_or_one_sentence(rows: list[Any], judged: bool) -> None:
    try:
        tasks = read(*rows, judged=judged)
    except PromptFileError as refused:
        assert str(refused).startswith("row ") and str(refused)[4] in string.digits and "\n" not in str(refused)
        return
    for task in tasks:
        assert LAYOUT.prompt(task["data"]) and task["data"].get("answer1") is not None and task["data"].get("answer2") is not None
        assert all(isinstance(made["result"], list) for made in task.get("annotations", []))
        assert all(isinstance(made["model_version"], str) for made in task.get("predictions", []))
        json.dumps(task)


@pytest.mark.parametrize("judged", [False, True])
def test_a_plain_row_is_a_task_with_empty_answers(judged: bool) -> None:
    expected = [{"data": {"prompt": "Why?", "answer1": "", "answer2": ""}}]

    assert read("Why?", judged=judged) == read({"prompt": "Why?", "answer1": None}, judged=judged) == expected
