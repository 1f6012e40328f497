"""Files into a project whose annotators order a list."""

from collections import Counter
from typing import Any

from backend.prompt_files.rows import Rows
from preference.labelling.controls.ranker import items_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from preference.studio.task import Task
from tests.support.ranked_lists import ORDERED, SORTED, ranking

COMPARED = {"prompt": "Why?", "response_1": "Good.", "response_2": "Poor.", "preference_strength": -2}


def read(*rows: Any, judged: bool = False, layout: LabelingLayout = ORDERED) -> tuple[list[Task], Counter[str]]:
    reader = Rows(layout, judged=judged)
    return list(reader.tasks(enumerate(rows, 1), where=lambda place: f"row {place}")), reader.remarks


def voted(task: Task, layout: LabelingLayout = ORDERED) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in pairs_of_task(task, layout, dropped=Counter())]


def test_prompts_and_lists_come_as_they_are() -> None:
    theirs = {"prompt": "Who?", "items": [{"id": "x", "body": "Me.", "model": "m1"}, {"id": "y", "body": "You."}]}

    tasks, _ = read("Why?", {"prompt": "How?", "items": None}, theirs)

    assert [task["data"] for task in tasks] == [{"prompt": "Why?", "items": ""}, {"prompt": "How?", "items": ""}, theirs]


def test_two_compared_answers_are_a_list_of_two() -> None:
    (task,), _ = read(COMPARED)

    assert task["data"]["items"] == items_of(["Good.", "Poor."]) and "annotations" not in task


def test_what_the_file_says_of_them_is_a_ranking() -> None:
    for strength, expected in ((-2, ("Good.", "Poor.")), (3, ("Poor.", "Good."))):
        (task,), remarks = read({**COMPARED, "preference_strength": strength}, judged=True)
        assert voted(task) == [expected] and not remarks


def test_buckets_take_no_judgement_that_only_says_which_is_better() -> None:
    (task,), remarks = read(COMPARED, judged=True, layout=SORTED)

    assert "annotations" not in task and remarks == {"left unjudged, the label config has no box for left": 1}


def test_one_answer_alone_is_kept_and_nothing_is_put_beside_it() -> None:
    (task,), _ = read({"prompt": "Why?", "completion": "Because."})

    assert task["data"]["items"] == items_of(["Because."]) and not ORDERED.has_room(task["data"])


def test_rankings_of_an_export_come_along() -> None:
    data = {"prompt": "Why?", "items": items_of(["One.", "Two."])}
    made = ranking("ba")
    of_row = {"annotator": 2, "annotation_id": 7, "created_at": "x", "updated_at": "x", "lead_time": 4.5, "id": 40}
    whole = {"id": 40, "data": data, "annotations": [made]}

    (task,), _ = read(whole)
    (flat,), _ = read({**data, **of_row, "rank": [{"ranker": {"rank": ["b", "a"]}}]})

    assert voted(task) == voted(flat) == [("Two.", "One.")] and flat["data"] == data
