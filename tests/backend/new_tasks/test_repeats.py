"""Comparisons come back to their annotators, with their sides exchanged."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backend.new_tasks.repeats import ask_for_repeats
from preference.labelling.controls.repeats import META_KEY, Shown
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.projects.status_files import OpenRepeats
from tests.support.filling_house import CHOICE, LAYOUT, House, warnings_of
from tests.support.ranked_lists import ORDER

ANNA, BEN = 7, 8


@pytest.fixture
def tasks(house: House) -> list[int]:
    """Ten that were answered, of a project that was looked at once."""
    ids = house.add(*({"prompt": f"p{n}", "answer1": f"first {n}", "answer2": f"second {n}", "note": n} for n in range(10)))
    assert look(house) == 0
    return ids


def look(house: House, *, share: float = 0.999, least_between: int = 2, layout: LabelingLayout = LAYOUT) -> int:
    project = house.project()
    return ask_for_repeats(project, house.folder, layout, state=project.read(), share=share, least_between=least_between)


def judge(house: House, *tasks: int, who: int = ANNA, side: str = "left", **fields: Any) -> list[int]:
    result = [{**CHOICE[0], "value": {"selected": side}}]
    return [house.studio.annotate(task, result, completed_by=who, **fields)["id"] for task in tasks]


def copies(house: House) -> dict[int, dict[str, Any]]:
    return {task_id: task for task_id, task in house.studio.tasks.items() if META_KEY in task["meta"]}


def suggested(house: House, task: int) -> int:
    """The id of a stored prediction of that task, which lights the left side."""
    regions = Pairwise.showing(LAYOUT, Shown("left", (1.5, -0.25)))
    row = {"task": task, "result": regions, "score": 0.7, "model_version": "v1"}
    assert house.project().store_predictions([row]) == 1
    prediction: int = house.studio.tasks[task]["predictions"][-1]["id"]
    return prediction


def test_a_comparison_comes_back_with_its_sides_exchanged_when_its_annotator_judged_some_more(
    house: House, tasks: list[int]
) -> None:
    (first,) = judge(house, tasks[0])
    assert look(house) == 0, "at once, everybody remembers"
    judge(house, tasks[1])
    assert look(house) == 0
    judge(house, tasks[2])
    assert look(house) == 1

    (copy,) = copies(house).values()
    data = {key: value for key, value in copy["data"].items() if not key.endswith("_html")}
    assert data == {"prompt": "p0", "answer1": "second 0", "answer2": "first 0", "note": 0}
    assert copy["meta"] == {META_KEY: {"of_task": tasks[0], "annotation": first, "lit": None, "rewards": [None, None]}}
    assert OpenRepeats.read(house.folder.path).open == (copy["id"],)


def test_it_shows_what_was_shown_of_the_same_answers_and_comes_first_whatever_the_model_thinks_now(
    house: House, tasks: list[int], tiny_base: Path
) -> None:
    seen = suggested(house, tasks[0])
    judge(house, tasks[0], parent_prediction=seen)
    judge(house, tasks[1], tasks[2])
    assert look(house) == 1
    ((copy, task),) = copies(house).items()
    assert task["meta"][META_KEY] | {"annotation": 0} == {
        "of_task": tasks[0],
        "annotation": 0,
        "lit": "right",
        "rewards": [-0.25, 1.5],
    }

    version = house.promote(tiny_base, weight=1.0)
    house.fill()

    (prediction,) = house.studio.tasks[copy]["predictions"]
    values = {region["from_name"]: region["value"] for region in prediction["result"]}
    assert values == {"comparison": {"selected": "right"}, "reward1": {"number": -0.25}, "reward2": {"number": 1.5}}
    others = [task["predictions"][-1]["score"] for task_id, task in house.studio.tasks.items() if task_id in tasks[3:]]
    assert prediction["model_version"] == version and len(others) == 7 and prediction["score"] <= min(others)


def test_a_judgement_comes_back_once_and_what_is_said_of_a_copy_never(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    assert look(house) == 1
    ((copy, _),) = copies(house).items()
    judge(house, copy, *tasks[3:])
    num_made = sum(look(house) or judge(house, tasks[0]) is None for _ in range(30))
    assert num_made == len(copies(house)) - 1
    of_tasks = [task["meta"][META_KEY]["annotation"] for task in copies(house).values()]
    assert len(set(of_tasks)) == len(of_tasks)
    assert not {task["meta"][META_KEY]["of_task"] for task in copies(house).values()} & set(copies(house))


def test_one_waits_for_its_annotator_to_be_at_work(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    judge(house, *tasks[3:6], who=BEN)  # later: he gets his own
    assert look(house) == 1
    (copy,) = copies(house).values()
    assert copy["meta"][META_KEY]["of_task"] == tasks[3]
    assert look(house) == 0, "nobody judged meanwhile"


def test_none_piles_up_while_nobody_judges_it(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    assert look(house, share=0.3) + look(house, share=0.3) <= 1
    judge(house, *tasks[:3], who=BEN)
    for task in tasks[3:9]:
        judge(house, task)
        look(house, share=0.3)
    assert len(copies(house)) <= 0.3 * 10 + 1


def test_a_small_share_comes_back_and_no_faster_than_twice_that(house: House) -> None:
    look(house, share=0.1)
    ids = house.add(*({"prompt": f"p{n}", "answer1": "a", "answer2": f"b{n}"} for n in range(500)))
    at = []
    for number, task in enumerate(ids[:300]):
        judge(house, task)
        if look(house, share=0.1):
            at.append(number)
            judge(house, *OpenRepeats.read(house.folder.path).open)
    assert 15 <= len(at) <= 45
    assert min(later - sooner for sooner, later in pairwise(at)) >= 4


def test_what_was_deleted_skipped_or_turned_into_nothing_does_not_come_back(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:2])
    look(house)
    del house.studio.tasks[tasks[0]]
    judge(house, tasks[2])
    assert look(house) == 0
    house.studio.tasks[tasks[1]]["annotations"][0]["result"] = []
    judge(house, tasks[3])
    assert look(house) == 0
    house.studio.tasks[tasks[2]]["annotations"][0]["was_cancelled"] = True
    judge(house, tasks[4])
    assert look(house) == 0 and not copies(house)
    judge(house, tasks[5])
    assert look(house) == 1, "those after them do"


def test_a_copy_that_nobody_judged_goes_with_its_task(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    assert look(house) == 1
    ((copy, _),) = copies(house).items()
    house.fill()
    del house.studio.tasks[tasks[0]]
    judge(house, tasks[3])  # so that there are as many judgements as before
    look(house)
    assert copy not in house.studio.tasks
    assert copy not in OpenRepeats.read(house.folder.path).open


def test_repeats_0_ends_it_and_removes_what_nobody_judged(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    assert look(house) == 1
    ((judged, _),) = copies(house).items()
    judge(house, judged, *tasks[3:5])
    assert look(house) == 1
    assert len(copies(house)) == 2

    assert look(house, share=0) == 0

    assert set(copies(house)) == {judged}
    assert look(house) == 0
    judge(house, tasks[6])
    assert look(house) == 0, "what was judged before does not come back"


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_copy_that_somebody_has_begun_to_judge_stays_until_that_is_given_up(
    house: House, tasks: list[int], is_ended: bool
) -> None:
    judge(house, *tasks[:3])
    assert look(house) == 1
    ((copy, task),) = copies(house).items()
    task["drafts"] = [{"id": 1, "result": CHOICE}]
    share = 0 if is_ended else 0.999
    if not is_ended:
        del house.studio.tasks[tasks[0]]

    look(house, share=share)
    assert copy in house.studio.tasks and OpenRepeats.read(house.folder.path).open == (copy,)

    task["drafts"] = []
    judge(house, tasks[3])
    look(house, share=share)
    assert copy not in house.studio.tasks and copy not in OpenRepeats.read(house.folder.path).open


def test_what_label_studio_refuses_keeps_no_other(house: House, tasks: list[int], caplog: pytest.LogCaptureFixture) -> None:
    house.settings = house.settings.replace(repeats=0.5)
    house.fill()
    judge(house, *tasks, *tasks, *tasks, *tasks, *tasks, *tasks)

    def refuse(request: str) -> None:
        if request.startswith(f"POST /api/projects/{house.project_id}/import"):
            house.studio.failures = [400]

    house.studio.on_request = refuse
    house.fill()
    assert "comparisons that are to come back wait" in warnings_of(caplog)[0]
    house.studio.on_request = lambda request: None
    judge(house, tasks[0])
    house.fill()
    assert len(copies(house)) == 1


def test_rankings_do_not_come_back(house: House) -> None:
    layout = LabelingLayout.from_label_config(ORDER)
    assert look(house, layout=layout) == 0
    assert not (house.folder.path / OpenRepeats.FILE).exists()


def test_a_damaged_file_begins_anew(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    (house.folder.path / OpenRepeats.FILE).write_text('{"until": 7}')
    assert look(house) == 0
    assert look(house) == 0 and not copies(house)


def test_nobody_is_asked_while_nobody_judges(house: House, tasks: list[int]) -> None:
    judge(house, *tasks[:3])
    assert [look(house), look(house)] == [1, 0]
    num_requests = len(house.studio.requests)
    assert look(house) == look(house, share=0.5) == 0
    assert len(house.studio.requests) == num_requests + 2, "the project, and no list"


def test_without_a_place_to_note_it_nothing_comes_back(house: House, tasks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    judge(house, *tasks[:2])
    look(house)
    judge(house, tasks[2])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert look(house) == 0
    assert not copies(house)
    assert look(house) == 1
