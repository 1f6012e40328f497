"""Whatever a file's rows are, they become tasks that Label Studio takes, or one sentence says which of them cannot."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.connecting.default_label_config import default_label_config
from backend.prompt_files.rows import Rows
from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import value_at
from preference.studio.task import Task
from tests.support.filling_house import LAYOUT
from tests.support.templates import RECORDED

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


def read(*rows: Any, judged: bool = False, layout: LabelingLayout = LAYOUT) -> list[Task]:
    return list(Rows(layout, judged=judged).tasks(enumerate(rows, 1), where=lambda place: f"row {place}"))


@pytest.mark.parametrize("depth", [100, 600, 990])
def test_lists_however_deep_are_read_or_refused_with_a_sentence(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    try:
        (task,) = read({"prompt": "p", "deep": deep})
    except PromptFileError as refused:
        assert depth > 100
        assert str(refused) == "row 1: lists or objects too deep inside each other; leave them out."
    else:
        assert task["data"]["prompt"] == "p" and depth < 990


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


# Rows of a project whose prompts are conversations

CONVERSATION = LabelingLayout.from_label_config(default_label_config(conversations=True))
SYSTEM, ASKED, ANSWERED, MORE = (
    {"role": role, "content": text}
    for role, text in (("system", "Be brief."), ("user", "Name a tree."), ("assistant", "Oak."), ("user", "Another one."))
)
GOOD, POOR = {"role": "assistant", "content": "Elm."}, {"role": "assistant", "content": "No."}
HH = "\n\nHuman: Name a tree.\n\nAssistant: Oak.\n\nHuman: Another one."


def prompts(*rows: Any, layout: LabelingLayout = CONVERSATION) -> list[Any]:
    return [value_at(task["data"], layout.prompt_field or "") for task in read(*rows, layout=layout)]


@pytest.mark.parametrize(
    "row",
    [
        [ASKED, ANSWERED, MORE],
        HH,
        {"prompt": [ASKED, ANSWERED, MORE]},
        {"prompt": json.dumps([ASKED, ANSWERED, MORE])},
        {"prompt": [{"from": "human", "value": "Name a tree."}, {"from": "gpt", "value": "Oak."}, MORE]},
        {"prompt": HH},
        {"prompt": [ASKED, ANSWERED, MORE], "chosen": [GOOD], "rejected": [POOR]},
        {"chosen": [ASKED, ANSWERED, MORE, GOOD], "rejected": [ASKED, ANSWERED, MORE, POOR]},
        {"chosen": f"{HH}\n\nAssistant: Elm.", "rejected": f"{HH}\n\nAssistant: No."},
        {"messages": [ASKED, ANSWERED, MORE, GOOD]},
        {"prompt": [ASKED, ANSWERED, MORE], "completion": [GOOD]},
        {"conversation_a": [ASKED, ANSWERED, MORE, GOOD], "conversation_b": [ASKED, ANSWERED, MORE, POOR], "winner": "model_a"},
        {"data": {"prompt": [ASKED, ANSWERED, MORE]}},
        {"data": {"prompt": HH}},
    ],
    ids=lambda row: "+".join(row) if isinstance(row, dict) else type(row).__name__,
)
def test_every_turn_stays_one(row: Any) -> None:
    assert prompts(row) == [[ASKED, ANSWERED, MORE]]


def test_a_text_is_the_users_turn_and_a_column_with_a_system_prompt_the_one_before() -> None:
    assert (
        prompts("Name a tree.", {"prompt": "Name a tree."}, {"prompt": "Name a tree.", "chosen": "Elm.", "rejected": "No."})
        == [[ASKED]] * 3
    )
    columns: list[dict[str, Any]] = [{"system": "Be brief.\n"}, {"system_prompt": "Be brief."}]
    for column in columns:
        row = {"prompt": "Name a tree.", **column}
        assert prompts(row, {**row, "chosen": "Elm.", "rejected": "No."}) == [[SYSTEM, ASKED]] * 2
        assert read(row, layout=CONVERSATION)[0]["data"].items() >= column.items()
        assert prompts({"prompt": [{**SYSTEM, "content": "Be kind."}, ASKED], **column})[0][0]["content"] == "Be kind."
        assert prompts({"data": {"prompt": [ASKED], **column}}) == [[ASKED]], "a task of Label Studio's is as it was"


def test_what_else_a_message_says_stays() -> None:
    said = [{**ASKED, "createdAt": 1}, {**ANSWERED, "name": "Ada"}, MORE]
    assert prompts({"prompt": said, "answer1": "Elm."}, {"prompt": said}) == [said, said]


def test_messages_have_the_keys_that_the_label_config_names() -> None:
    layout = LabelingLayout.from_label_config(
        default_label_config(conversations=True).replace('nameKey="role" textKey="content"', "").replace("$prompt", "$chat.turns")
    )
    said = [{"author": turn["role"], "text": turn["content"]} for turn in (ASKED, ANSWERED, MORE)]
    rows = read([ASKED, ANSWERED, MORE], {"prompt": HH, "chosen": "Elm.", "rejected": "No."}, {"chat.turns": HH}, layout=layout)
    assert [task["data"]["chat"] for task in rows] == [{"turns": said}] * 3


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": []}, "no prompt"),
        ({"prompt": 3}, "no prompt"),
        (
            {"prompt": [ASKED, {"role": "tool", "content": "42"}]},
            "conversation with a role that is none of user, assistant and system",
        ),
        ({"prompt": [ASKED, {"role": "user"}]}, "a message of a conversation should have a role"),
    ],
)
def test_what_is_no_conversation_is_refused_by_its_row(row: Any, why: str) -> None:
    with pytest.raises(PromptFileError, match=rf"^row 2: {why}"):
        read("Why?", row, layout=CONVERSATION)


def test_a_project_of_texts_takes_conversations_as_transcripts() -> None:
    transcript = "User: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one."
    rows = [[ASKED, ANSWERED, MORE], {"prompt": [ASKED, ANSWERED, MORE]}, {"data": {"prompt": [ASKED, ANSWERED, MORE]}}]
    assert prompts(*rows, layout=LAYOUT) == [transcript] * 3


@given(files(), st.booleans())
def test_rows_of_any_shape_are_conversations_or_one_sentence(rows: list[Any], judged: bool) -> None:
    try:
        tasks = read(*rows, judged=judged, layout=CONVERSATION)
    except PromptFileError as refused:
        assert str(refused).startswith("row ") and "\n" not in str(refused)
        return
    for task in tasks:
        assert CONVERSATION.prompt(task["data"]) and isinstance(task["data"]["prompt"], list)
        json.dumps(task)


# Into a project whose label config shows no prompt

WITHOUT_PROMPT = LabelingLayout.from_label_config(RECORDED["ranking-and-scoring/pairwise-classification"])


def read_texts(*rows: Any, judged: bool = False) -> list[Task]:
    return list(Rows(WITHOUT_PROMPT, judged=judged).tasks(enumerate(rows, 1), where=lambda place: f"row {place}"))


def test_two_texts_are_a_task_without_a_prompt() -> None:
    row = {"pairText1": "a", "pairText2": 2, "source": "x"}
    assert read_texts(row) == [{"data": row}]
    assert Rows(WITHOUT_PROMPT, judged=False).has_columns(["pairText2", "pairText1"])
    assert not Rows(WITHOUT_PROMPT, judged=False).has_columns(["pairText1", "prompt"])


def test_public_data_keeps_its_prompt_where_nobody_is_shown_it() -> None:
    (task,) = read_texts({"prompt": "Why?", "chosen": "a", "rejected": "b"}, judged=True)
    data = task["data"]
    assert data["prompt"] == "Why?" and {data["pairText1"], data["pairText2"]} == {"a", "b"}
    assert task["annotations"][0]["result"][0]["from_name"] == "pw"


@pytest.mark.parametrize("row", ["A prompt.", {"pairText1": "a"}, {"pairText1": "a", "pairText2": " "}, {"prompt": "Why?"}])
def test_a_row_without_both_texts_is_refused(row: Any) -> None:
    with pytest.raises(PromptFileError) as refused:
        read_texts(row)
    assert str(refused.value) == (
        'row 1: no two answers; the label config shows no prompt to answer, so "pairText1" and "pairText2" must hold them.'
    )
