import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from tests.conftest import SettingsFactory
from tests.support.judgement_house import DAY, LEFT, MINUTE, RIGHT, House, ids_of
from tests.support.studio_double import KEY, StudioDouble
from tests.support.studio_records import LABEL_CONFIG


@pytest.fixture
def house(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), caplog)


def test_what_pairs_need_is_read_and_no_more(house: House) -> None:
    (task_id,) = house.studio.add_tasks(
        house.project.id, {"prompt": "p", "answer1": "a", "answer2": "b", "note": 7}, meta={"m": 1}
    )
    for version in ("suggesting", "other"):
        house.project.store_predictions([{"task": task_id, "result": RIGHT, "score": 0.7, "model_version": version}])
    parent = house.studio.tasks[task_id]["predictions"][0]["id"]
    made = house.studio.annotate(task_id, LEFT, parent_prediction=parent, lead_time=2.5, completed_by=3)

    (task,) = house.read()

    assert task == {
        "id": task_id,
        "updated_at": house.studio.tasks[task_id]["updated_at"],
        "data": {"prompt": "p", "answer1": "a", "answer2": "b", "note": 7},
        "annotations": [
            {
                "id": made["id"],
                "result": LEFT,
                "was_cancelled": False,
                "ground_truth": False,
                "completed_by": 3,
                "created_at": made["created_at"],
                "updated_at": made["updated_at"],
                "lead_time": 2.5,
                "parent_prediction": parent,
            }
        ],
        "predictions": [{"id": parent, "model_version": "suggesting", "result": RIGHT, "score": 0.7}],
    }
    assert house.read() == [task], "kept and read again it is the same"


def test_the_pairs_are_those_of_the_tasks_as_label_studio_lists_them(house: House) -> None:
    first, second = house.judged(2)
    house.project.store_predictions([{"task": first, "result": RIGHT, "score": 0.7, "model_version": "v"}])
    house.studio.edit(house.annotation(first), parent_prediction=house.studio.tasks[first]["predictions"][0]["id"])
    house.studio.annotate(second, [], is_skip=True)
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    read, listed = Counter[str](), Counter[str]()

    pairs = [pair for task in house.read() for pair in pairs_of_task(task, layout, dropped=read)]

    assert pairs == [pair for task in house.project.annotated_tasks() for pair in pairs_of_task(task, layout, dropped=listed)]
    assert (pairs[0].suggested_version, len(pairs)) == ("v", 2)
    assert read == listed == {"skipped": 1}


def test_a_project_without_judgements_gives_none_and_then_its_first(house: House) -> None:
    (task_id,) = house.studio.add_tasks(house.project.id, {"prompt": "p"})

    assert (house.read(), house.read()) == ([], [])
    house.studio.annotate(task_id, LEFT)

    assert ids_of(house.read()) == [task_id]


def test_a_round_downloads_only_what_changed_since_the_last(house: House) -> None:
    ids = house.judged(130)
    assert ids_of(house.read()) == ids
    assert (
        house.log == f"project {house.project.id}: 130 judged tasks changed, 130 are known: all were read, as none were kept yet"
    )
    new = house.judged(2)
    house.studio.edit(house.annotation(ids[7]), result=RIGHT)
    house.studio.requests.clear()

    tasks = house.read()

    assert tasks == house.truth()
    assert house.log.startswith(f"project {house.project.id}: 3 judged tasks changed, 132 are known: changes since 2026-")
    assert ids_of(tasks) == ids + new
    assert tasks[7]["annotations"][0]["result"] == RIGHT


def test_a_round_without_changes_asks_once_and_writes_nothing(house: House) -> None:
    house.judged(3)
    house.read()
    before, house.studio.requests[:] = house.file.stat().st_mtime_ns, []

    tasks = house.read()

    assert len(tasks) == 3
    assert " 0 judged tasks changed, 3 are known" in house.log
    assert house.studio.requests == [f"GET /api/projects/{house.project.id}/", "GET /api/tasks/"]
    assert house.file.stat().st_mtime_ns == before


def skip(house: House, task_id: int) -> None:
    house.studio.edit(house.annotation(task_id), was_cancelled=True, result=[])


def skip_and_unskip(house: House, task_id: int) -> None:
    skip(house, task_id)
    house.read()
    house.studio.edit(house.annotation(task_id), was_cancelled=False, result=RIGHT)


def mark_another_as_ground_truth(house: House, task_id: int) -> None:
    house.studio.edit(house.annotation(task_id), ground_truth=True)
    house.read()
    house.studio.edit(house.studio.annotate(task_id, RIGHT)["id"], ground_truth=True)


def delete_one_of_two(house: House, task_id: int) -> None:
    house.studio.annotate(task_id, RIGHT)
    house.read()
    house.studio.delete_annotation(house.annotation(task_id))


def delete_and_judge_again(house: House, task_id: int) -> None:
    house.studio.delete_annotation(house.annotation(task_id))
    house.studio.annotate(task_id, RIGHT)


def delete_here_and_judge_there(house: House, task_id: int) -> None:
    house.studio.delete_annotation(house.annotation(task_id))
    house.studio.annotate(house.studio.add_tasks(house.project.id, {"prompt": "new"})[0], LEFT)


CHANGES: dict[str, Callable[[House, int], object]] = {
    "edited": lambda house, task_id: house.studio.edit(house.annotation(task_id), result=RIGHT),
    "judged by a second annotator": lambda house, task_id: house.studio.annotate(task_id, RIGHT, completed_by=2),
    "moved to skip": skip,
    "skipped and unskipped": skip_and_unskip,
    "ground truth handed on": mark_another_as_ground_truth,
    "one of two deleted": delete_one_of_two,
    "the only one deleted": lambda house, task_id: house.studio.delete_annotation(house.annotation(task_id)),
    "deleted and judged again": delete_and_judge_again,
    "deleted here, judged there": delete_here_and_judge_there,
    "data corrected": lambda house, task_id: house.project.store_answers(task_id, data={"prompt": "new"}, meta={}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_judgements_count_as_they_stand_now_without_a_look_at_the_others(
    house: House, change: Callable[[House, int], object]
) -> None:
    ids = house.judged(5)
    before = house.read()

    change(house, ids[2])
    tasks = house.read()

    assert tasks == house.truth() != before
    assert "changes since" in house.log
    assert house.read() == tasks


def test_a_deleted_task_is_noticed_by_the_count_and_dropped_by_comparing_states(house: House) -> None:
    ids = house.judged(5)
    house.read()
    del house.studio.tasks[ids[1]]

    tasks = house.read()

    assert ids_of(tasks) == [ids[0], *ids[2:]]
    assert house.log == (
        f"project {house.project.id}: 0 judged tasks changed, 4 are known: the states of all were compared, "
        "as Label Studio counted -1 judgements and +0 skips"
    )
    assert house.read() == tasks
    assert "changes since" in house.log


def test_a_deleted_task_is_noticed_even_if_a_new_judgement_makes_the_count_equal(house: House) -> None:
    ids = house.judged(5)
    house.read()
    del house.studio.tasks[ids[1]]
    new = house.judged(1)

    assert ids_of(house.read()) == [ids[0], *ids[2:], *new]


def test_a_new_task_with_the_id_of_a_deleted_one_does_not_get_its_judgement(house: House) -> None:
    ids = house.judged(3)
    house.read()
    del house.studio.tasks[ids[2]]
    (other,) = house.studio.add_tasks(house.project.id, {"prompt": "new"})
    house.studio.tasks[ids[2]] = {**house.studio.tasks.pop(other), "id": ids[2]}

    assert ids_of(house.read()) == ids[:2]


def test_tasks_are_ordered_by_id_in_whichever_order_they_were_judged(house: House) -> None:
    first, second, third = house.studio.add_tasks(house.project.id, *[{"prompt": "p"}] * 3)
    for task_id in (second, third, first):
        house.studio.annotate(task_id, LEFT)
        house.read()

    assert ids_of(house.read()) == [first, second, third]


def test_once_a_week_all_are_read_which_ends_what_leaves_no_trace(house: House) -> None:
    twin, double = house.judged(2)
    house.judged(1)
    house.read()
    house.studio.remove_duplicate(double, twin=twin)
    assert [len(task["annotations"]) for task in house.read()] == [1, 1, 1], "the same judgements, under the old ids"
    house.now += 6.9 * DAY
    house.read()
    assert "changes since" in house.log
    house.now += 0.2 * DAY

    assert [len(task["annotations"]) for task in house.read()] == [2, 1]
    assert house.log.endswith("all were read, as the last time was over a week ago")


@pytest.mark.parametrize(("counter", "num_known"), [(0, 2), (5, 3)])
def test_stale_counters_of_a_task_do_not_make_it_compare_everything(house: House, counter: int, num_known: int) -> None:
    """Label Studio itself lists a task whose counters say 0 as not annotated."""
    ids = house.judged(3)
    house.studio.tasks[ids[1]]["total_annotations"] = counter
    house.studio.tasks[ids[1]]["updated_at"] = house.studio.tasks[ids[0]]["updated_at"]
    house.read()

    house.read()

    assert f" 0 judged tasks changed, {num_known} are known: changes since" in house.log


def test_a_deleted_task_is_noticed_while_label_studio_counts_one_that_it_does_not_list(house: House) -> None:
    """As many are counted as are known, the deleted one among them."""
    ids = house.judged(5)
    house.studio.tasks[ids[0]]["total_annotations"] = 0
    assert ids_of(house.read()) == ids[1:]
    del house.studio.tasks[ids[3]]

    for _ in range(2):
        assert ids_of(house.read()) == [ids[1], ids[2], ids[4]]
    assert "changes since" in house.log, "what is counted and not listed is known"


def test_what_label_studio_did_not_list_and_lists_again_is_read_and_compared_once(house: House) -> None:
    ids = house.judged(5)
    house.studio.tasks[ids[0]]["total_annotations"] = 0
    house.read()
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)

    for _ in range(2):
        assert ids_of(house.read()) == ids
    assert "changes since" in house.log


def test_whatever_happens_the_changes_add_up_to_a_whole_read(house: House) -> None:
    chance = random.Random(4)
    ids = house.judged(8)
    house.read()

    ways = Counter[bool]()
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            house.now += chance.choice([0, 1, 30 * MINUTE])
            house.something_happens(chance, ids)
        assert house.read() == house.truth()
        ways["changes since" in house.log] += 1
    assert ways[True] > 2 * ways[False] > 0


def test_who_wrote_the_answers_of_a_duel_is_kept(house: House) -> None:
    (ordinary,) = house.judged(1)
    duel = {"new": "g1-20261121-062026", "other": "base", "new_in": "answer2"}
    data = {"prompt": "p", "answer1": "a", "answer2": "b"}
    (task_id,) = house.studio.add_tasks(house.project.id, data, meta={"pairloop": {"duel": duel, "seed": 3}})
    house.studio.annotate(task_id, LEFT)

    fresh, kept = house.read(), house.read()

    assert fresh == kept and [task.get("duel") for task in kept] == [None, duel] and ids_of(kept) == [ordinary, task_id]
    assert house.log.startswith("project 1: 0 judged tasks changed")
