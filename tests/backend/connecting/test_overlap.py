import pytest

from backend.connecting.overlap import Overlap, in_words, set_overlap
from preference.studio.tabs import THIRD_LOOK
from tests.support.connecting_house import House


def fields(house: House) -> tuple[int, int]:
    project = house.studio.projects[house.id]
    return project["maximum_annotations"], project["overlap_cohort_percentage"]


def share(house: House, overlap: Overlap) -> list[str]:
    return list(set_overlap(house.project, overlap, state=house.project.read()))


def test_a_part_of_the_tasks_is_judged_by_several_and_stays_so(house: House) -> None:
    done = share(house, Overlap(0.2, 2))

    assert done == ["set the overlap: 2 people judge each of 20 % of the tasks", f'made the tab "{THIRD_LOOK}"']
    assert fields(house) == (2, 20)
    assert share(house, Overlap(0.2, 2)) == []
    house.connect()
    assert fields(house) == (2, 20), "a later connect leaves it alone"


def test_a_small_part_is_not_rounded_to_none() -> None:
    assert Overlap(0.004, 2).fields == {"maximum_annotations": 2, "overlap_cohort_percentage": 1}


@pytest.mark.parametrize("overlap", [Overlap(0, 3), Overlap(0.5, 1)])
def test_it_is_switched_off_by_no_share_and_by_one_person(house: House, overlap: Overlap) -> None:
    share(house, Overlap(1, 3))
    assert fields(house) == (3, 100)

    assert share(house, overlap) == ["set the overlap: one person judges each task"]
    assert fields(house) == (1, 100)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "one person judges each task"),
        ({"maximum_annotations": 3}, "3 people judge each task"),
        ({"maximum_annotations": 3, "overlap_cohort_percentage": 100}, "3 people judge each task"),
        ({"maximum_annotations": 2, "overlap_cohort_percentage": 5}, "2 people judge each of 5 % of the tasks"),
    ],
)
def test_how_many_judge_a_task_in_words(state: dict[str, int], words: str) -> None:
    assert in_words(state) == words
