import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backend.prompt_files.prompt_file import PromptFile
from preference.errors import PromptFileError
from preference.labelling.task_pairs import pairs_of_task
from preference.studio.task import Task
from tests.support.filling_house import LAYOUT


def message(name: str, parent: str | None, text: str, *, rank: int | None = None, **fields: Any) -> dict[str, Any]:
    role = "prompter" if name.startswith("p") else "assistant"
    about = {"message_tree_id": "p1", "lang": "en", "deleted": False}
    return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, **about, **fields}


MESSAGES = [
    message("p1", None, "Name a tree."),
    message("a1", "p1", "Oak.", rank=1),
    message("a2", "p1", "An elm, with its broad crown.", rank=0),
    message("a3", "p1", "No.", rank=2),
    message("a4", "p1", "Spam!", deleted=True),
    message("p2", "a1", "Another one."),
    message("a5", "p2", "Ash."),
    message("a6", "p2", "Yew."),
    message("p3", "a2", "Thanks."),
]
TREE = {
    "message_tree_id": "p1",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "p1", "text": "Name a tree.", "role": "prompter", "lang": "en", "replies": [
            {"message_id": "a1", "text": "Oak.", "role": "assistant", "rank": 1, "replies": []},
            {"message_id": "a2", "text": "Elm.", "role": "assistant", "rank": 0},
        ],
    },
}  # fmt: skip


def read(tmp_path: Path, *rows: Any) -> tuple[list[Task], Counter[str]]:
    path = tmp_path / "oasst.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prompts = PromptFile(path, LAYOUT, judged=True)
    return list(iter(prompts)), prompts.remarks


def test_every_two_ranked_replies_to_a_message_are_a_judged_comparison(tmp_path: Path) -> None:
    tasks, remarks = read(tmp_path, *MESSAGES)

    pairs = [pair for task in tasks for pair in pairs_of_task(task, LAYOUT, dropped=Counter())]
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs] == [
        ("Name a tree.", "An elm, with its broad crown.", "Oak."),
        ("Name a tree.", "Oak.", "No."),
        ("Name a tree.", "An elm, with its broad crown.", "No."),
    ]
    unjudged = tasks[3]["data"]
    assert unjudged["prompt"] == "User: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one."
    assert {unjudged["answer1"], unjudged["answer2"]} == {"Ash.", "Yew."}
    assert unjudged["message_id"] == (["a5", "a6"] if unjudged["answer1"] == "Ash." else ["a6", "a5"])
    assert (unjudged["lang"], unjudged["parent_id"]) == ("en", "p2")
    assert remarks == {
        "left unjudged, the row does not say which answer is better": 1,
        "passed over, fewer than two replies to compare": 1,
    }


def test_trees_are_told_apart_and_a_tree_in_one_row_is_read_alike(tmp_path: Path) -> None:
    second = [{**row, "message_tree_id": "p9"} for row in MESSAGES[:3]]

    tasks, _ = read(tmp_path, *MESSAGES[:3], *second, TREE)

    assert [task["data"]["message_tree_id"] for task in tasks] == ["p1", "p9", "p1"]
    assert {tasks[2]["data"]["answer1"], tasks[2]["data"]["answer2"]} == {"Oak.", "Elm."}
    assert tasks[2]["data"]["tree_state"] == "ready_for_export"


def test_replies_whose_thread_is_not_whole_are_passed_over(tmp_path: Path) -> None:
    loop = [message("p7", "p8", "a"), message("p8", "p7", "b"), message("a7", "p7", "c"), message("a8", "p7", "d")]

    assert read(tmp_path, *MESSAGES[5:8])[1] == {"passed over, the messages above it are not in the file": 1}
    tasks, remarks = read(tmp_path, *loop)
    assert tasks == [] and remarks["passed over, the messages above it are not in the file"] == 1


@pytest.mark.parametrize("reply", [7, {"text": "Oak."}, {"message_id": ["x"]}])
def test_a_tree_that_is_none_is_refused(tmp_path: Path, reply: Any) -> None:
    with pytest.raises(
        PromptFileError, match=r'line 1: a message of the tree lacks its "message_id", its "role" or its "text"\.$'
    ):
        read(tmp_path, {**TREE, "prompt": {**TREE["prompt"], "replies": [reply]}})  # type: ignore[dict-item]
