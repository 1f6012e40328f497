"""A small file of each public format, made up here."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backend.prompt_files.prompt_file import PromptFile
from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import transcript
from preference.labelling.task_pairs import pairs_of_task
from preference.studio.task import Task
from tests.support.filling_house import LAYOUT, RENAMED

PROMPT, GOOD, POOR = "How do I keep bread fresh?", "In a box of wood.", "Eat it."
ASKED = {"role": "user", "content": PROMPT}
EARLIER = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which bread is dark?"},
    {"role": "assistant", "content": "Rye."},
]
TRANSCRIPT = f"System: Be brief.\n\nUser: Which bread is dark?\n\nAssistant: Rye.\n\nUser: {PROMPT}"


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def hh(answer: str, *, earlier: str = "") -> str:
    return f"{earlier}\n\nHuman: {PROMPT}\n\nAssistant: {answer}"


def read(tmp_path: Path, *rows: Any, judged: bool = True, layout: LabelingLayout = LAYOUT) -> tuple[list[Task], Counter[str]]:
    """The tasks of a file with these rows, and what it passed over."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prompts = PromptFile(path, layout, judged=judged)
    return list(iter(prompts)), prompts.remarks


def voted(task: Task, layout: LabelingLayout = LAYOUT) -> list[tuple[str, str, str, str]]:
    """(prompt, chosen, rejected, kind) of each pair that a judged task becomes."""
    pairs = pairs_of_task(task, layout, dropped=Counter())
    return [(transcript(pair.prompt), pair.chosen, pair.rejected, pair.kind) for pair in pairs]


FORMATS: dict[str, dict[str, Any]] = {
    "hh-rlhf": {"chosen": hh(GOOD), "rejected": hh(POOR)},
    "TRL preference": {"prompt": PROMPT, "chosen": GOOD, "rejected": POOR},
    "TRL preference, conversational": {"prompt": [ASKED], "chosen": [said(GOOD)], "rejected": [said(POOR)]},
    "TRL preference, conversational, implicit prompt": {"chosen": [ASKED, said(GOOD)], "rejected": [ASKED, said(POOR)]},
    "UltraFeedback binarized": {
        "prompt": PROMPT, "prompt_id": "1a", "chosen": [ASKED, said(GOOD)], "rejected": [ASKED, said(POOR)],
        "messages": [ASKED, said(GOOD)], "score_chosen": 8.5, "score_rejected": 4,
    },
    "SHP, the first": {"post_id": "x", "history": PROMPT, "human_ref_A": GOOD, "human_ref_B": POOR, "labels": 1, "score_ratio": 2.0},
    "SHP, the second": {"post_id": "x", "history": PROMPT, "human_ref_A": POOR, "human_ref_B": GOOD, "labels": 0, "score_ratio": 2.0},
    "Chatbot Arena": {
        "question_id": "7", "model_a": "m", "model_b": "n", "winner": "model_b", "turn": 1, "conversation_a": [ASKED, said(POOR)],
        "conversation_b": [ASKED, said(GOOD)],
    },
    "Chatbot Arena, 55k": {
        "id": 7, "prompt": json.dumps([PROMPT]), "response_a": json.dumps([GOOD]), "response_b": json.dumps([POOR]),
        "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0,
    },
    "HelpSteer2, preferences, the first": {"prompt": PROMPT, "response_1": GOOD, "response_2": POOR, "preference_strength": -1},
    "HelpSteer2, preferences, the second": {"prompt": PROMPT, "response_1": POOR, "response_2": GOOD, "preference_strength": 3},
    "sharegpt": {"chosen": [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": GOOD}],
                 "rejected": [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": POOR}]},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("layout", [LAYOUT, LabelingLayout.from_label_config(RENAMED)], ids=["our config", "another"])
def test_a_row_is_a_comparison_and_with_judged_a_judgement(tmp_path: Path, name: str, layout: LabelingLayout) -> None:
    row = FORMATS[name]

    (task,), remarks = read(tmp_path, row, layout=layout)

    assert voted(task, layout) == [(PROMPT, GOOD, POOR, "vote")] and not remarks
    assert task["annotations"][0]["ground_truth"] is False
    kept = row.keys() - {"prompt", "chosen", "rejected", "messages", "history", "human_ref_A", "human_ref_B"}
    kept -= {"conversation_a", "conversation_b", "response_a", "response_b", "response_1", "response_2"}
    assert task["data"].keys() == {layout.prompt_field, *layout.answer_fields} | kept
    assert {key: task["data"][key] for key in kept} == {key: row[key] for key in kept}


@pytest.mark.parametrize("name", FORMATS)
def test_without_judged_it_is_left_to_people_and_only_its_meta_says_what_the_file_said(tmp_path: Path, name: str) -> None:
    (judged,), _ = read(tmp_path, FORMATS[name])
    (task,), remarks = read(tmp_path, FORMATS[name], judged=False)

    assert "annotations" not in task and task["data"] == judged["data"] and not remarks
    choice = judged["annotations"][0]["result"][0]["value"]["selected"]
    assert task["meta"] == {"pairloop_import": {"choice": choice}}


def test_the_chosen_answer_stands_on_either_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": GOOD, "rejected": POOR} for n in range(40)]

    tasks, _ = read(tmp_path, *rows)

    num_left = sum(task["data"]["answer1"] == GOOD for task in tasks)
    assert 8 < num_left < 32
    assert [voted(task)[0][1:3] for task in tasks] == [(GOOD, POOR)] * 40
    assert read(tmp_path, *rows)[0] == tasks


def test_rows_that_contradict_each_other_are_two_comparisons(tmp_path: Path) -> None:
    tasks, _ = read(
        tmp_path, {"prompt": PROMPT, "chosen": GOOD, "rejected": POOR}, {"prompt": PROMPT, "chosen": POOR, "rejected": GOOD}
    )

    assert [voted(task)[0][1] for task in tasks] == [GOOD, POOR]
    assert tasks[0]["data"] != tasks[1]["data"]


# Ties, and what says nothing


@pytest.mark.parametrize(("winner", "kind"), [("tie", "tie"), ("tie (bothbad)", "both_bad")])
def test_a_tie_is_one_if_the_label_config_has_a_box_for_it(tmp_path: Path, winner: str, kind: str) -> None:
    row = {**FORMATS["Chatbot Arena"], "winner": winner}

    (task,), _ = read(tmp_path, row)
    assert [pair[3] for pair in voted(task)] == [kind, kind]
    assert task["annotations"][0]["result"] == [
        {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": [kind]}}
    ]

    plain = LabelingLayout.from_label_config(
        '<View><Text name="p" value="$prompt"/><Pairwise name="c" toName="a,b"/>'
        '<Text name="a" value="$answer1"/><Text name="b" value="$answer2"/></View>'
    )
    (task,), remarks = read(tmp_path, row, layout=plain)
    assert "annotations" not in task and task["meta"] == {"pairloop_import": {"choice": kind}}
    assert remarks == {f"left unjudged, the label config has no box for {kind}": 1}


def test_rows_that_say_nothing_come_unjudged_and_are_counted(tmp_path: Path) -> None:
    tasks, remarks = read(tmp_path, {**FORMATS["Chatbot Arena"], "winner": None}, {**FORMATS["SHP, the first"], "labels": ""})

    assert all("annotations" not in task and "meta" not in task for task in tasks)
    assert remarks == {"left unjudged, the row does not say which answer is better": 2}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": PROMPT, "chosen": GOOD, "rejected": " "}, "an answer is empty"),
        ({"chosen": hh(""), "rejected": hh(POOR)}, "an answer is empty"),
        ({"chosen": [ASKED], "rejected": [ASKED, said(POOR)]}, "an answer is empty"),
        ({"chosen": hh(GOOD), "rejected": hh(POOR).replace("bread", "fish")}, "the two conversations have no prompt in common"),
    ],
)
def test_a_row_that_compares_nothing_is_passed_over_and_counted(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    assert read(tmp_path, row, FORMATS["hh-rlhf"])[1] == {f"passed over, {reason}": 1}
    assert len(read(tmp_path, row, FORMATS["hh-rlhf"])[0]) == 1


# Several turns


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [*EARLIER, ASKED], "chosen": [said(GOOD)], "rejected": [said(POOR)]}, TRANSCRIPT),
        ({"chosen": [*EARLIER, ASKED, said(GOOD)], "rejected": [*EARLIER, ASKED, said(POOR)]}, TRANSCRIPT),
        ({"prompt": PROMPT, "chosen": [*EARLIER, ASKED, said(GOOD)], "rejected": [*EARLIER, ASKED, said(POOR)]}, TRANSCRIPT),
        (
            {
                "chosen": hh(GOOD, earlier="\n\nHuman: Which bread is dark?\n\nAssistant: Rye."),
                "rejected": hh(POOR, earlier="\n\nHuman: Which bread is dark?\n\nAssistant: Rye."),
            },
            TRANSCRIPT.partition("\n\n")[2],
        ),
        (
            {
                "prompt": f"Which bread is dark?\n\n<extra_id_1>Assistant\nRye.\n\n<extra_id_1>User\n{PROMPT}\n",
                "response_1": GOOD,
                "response_2": POOR,
                "preference_strength": -2,
            },
            TRANSCRIPT.partition("\n\n")[2],
        ),
    ],
)
def test_every_turn_before_the_answers_stands_in_the_prompt(tmp_path: Path, row: dict[str, Any], prompt: str) -> None:
    (task,), _ = read(tmp_path, row)

    assert voted(task) == [(prompt, GOOD, POOR, "vote")]


def test_conversations_that_part_early_keep_their_later_turns_in_the_answers(tmp_path: Path) -> None:
    more = {"role": "user", "content": "And then?"}
    row = {
        "conversation_a": [ASKED, said(GOOD), more, said("Nothing.")],
        "conversation_b": [ASKED, said(POOR), more, said("Sleep.")],
        "winner": "model_a",
    }

    (task,), _ = read(tmp_path, row)

    assert task["data"] == {
        "prompt": PROMPT,
        "answer1": f"Assistant: {GOOD}\n\nUser: And then?\n\nAssistant: Nothing.",
        "answer2": f"Assistant: {POOR}\n\nUser: And then?\n\nAssistant: Sleep.",
        "winner": "model_a",
    }


# One answer or none


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": PROMPT, "completion": GOOD, "label": True},
        {"prompt": [ASKED], "completion": [said(GOOD)], "label": True},
        {"messages": [ASKED, said(GOOD)], "label": True},
    ],
)
def test_a_row_with_one_answer_asks_for_the_other(tmp_path: Path, row: dict[str, Any]) -> None:
    (task,), remarks = read(tmp_path, row, judged=False)

    assert {task["data"][field] for field in ("answer1", "answer2")} == {GOOD, ""} and task["data"]["prompt"] == PROMPT
    assert task["data"]["label"] is True and not remarks


@pytest.mark.parametrize("row", [{"prompt": [ASKED]}, {"messages": [ASKED]}])
def test_a_row_with_none_asks_for_both(tmp_path: Path, row: dict[str, Any]) -> None:
    (task,), _ = read(tmp_path, row, judged=False)

    assert task["data"] == {"prompt": PROMPT, "answer1": "", "answer2": ""}


# Several rows


def test_ratings_of_one_prompt_are_compared_two_by_two(tmp_path: Path) -> None:
    rows = [
        {"prompt": PROMPT, "response": text, "helpfulness": rating, "verbosity": 1}
        for text, rating in ((POOR, 1), (GOOD, 4), ("Freeze it.", 4))
    ]

    tasks, remarks = read(tmp_path, *rows, {"prompt": "Alone?", "response": GOOD, "helpfulness": 2, "verbosity": 1})

    assert [pair[1:3] for task in tasks for pair in voted(task)] == [(GOOD, POOR), ("Freeze it.", POOR)]
    assert len(tasks) == 3 and remarks == {
        "left unjudged, the row does not say which answer is better": 1,
        "passed over, fewer than two replies to compare": 1,
    }
    first = tasks[0]["data"]
    assert (first["helpfulness"], first["verbosity"]) == ([1, 4] if first["answer1"] == POOR else [4, 1], 1)


# What is no such row


def test_a_field_of_an_answer_makes_it_a_plain_row(tmp_path: Path) -> None:
    row = {"prompt": PROMPT, "answer1": "", "answer2": "", "chosen": GOOD, "rejected": POOR}

    assert read(tmp_path, row, judged=False)[0] == [{"data": row}]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"chosen": GOOD, "rejected": POOR},
            'no prompt; it should be a column "prompt", or stand at the beginning of "chosen" and "rejected".',
        ),
        (
            {"conversation_a": "[{'role': 'user'}]", "conversation_b": "[]", "winner": "tie"},
            '"conversation_a" and "conversation_b" should be lists of messages; save the data as JSON lines.',
        ),
        (
            {"prompt": PROMPT, "chosen": {"a": 1}, "rejected": POOR},
            "a conversation should be a text, or a list of messages with a role and a content.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "a message of a conversation should have a role, and a content that is text.",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PromptFileError) as refused:
        read(tmp_path, FORMATS["hh-rlhf"], row)

    assert str(refused.value) == f"{tmp_path / 'rows.jsonl'}, line 2: {sentence}"
