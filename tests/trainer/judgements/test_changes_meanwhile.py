"""What changes while judgements are read, and clocks that are wrong."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import SettingsFactory
from tests.support.judgement_house import DAY, LEFT, MINUTE, RIGHT, House, ids_of
from tests.support.studio_double import KEY, StudioDouble
from trainer.judgements.reader import read_judgements


@pytest.fixture
def house(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), caplog)


def test_a_late_commit_is_read_within_five_minutes_of_overlap(house: House) -> None:
    ids = house.judged(3)
    house.studio.edit(house.annotation(ids[2]), result=RIGHT)
    house.read()
    house.now -= 4.9 * MINUTE
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    house.now += 4.9 * MINUTE

    tasks = house.read()

    assert tasks[0]["annotations"][0]["result"] == RIGHT
    assert "changes since" in house.log


def test_an_edit_during_a_whole_read_is_read_by_the_next(house: House) -> None:
    ids = house.judged(501)  # two pages
    began, state = house.now, house.project.read()

    def judge_between_the_pages(request: str) -> None:
        if house.studio.requests.count("GET /api/tasks/") == 2 and house.now == began:
            house.now = began + MINUTE
            house.studio.edit(house.annotation(ids[0]), result=RIGHT)
            house.now = began + 20 * MINUTE
            house.studio.edit(house.annotation(ids[-1]), result=RIGHT)

    house.studio.on_request = judge_between_the_pages
    first = read_judgements(house.project, house.folder, state=state, now=began)
    house.studio.on_request = lambda request: None

    assert [first[n]["annotations"][0]["result"] for n in (0, -1)] == [LEFT, RIGHT]
    assert house.read() == house.truth()
    assert "changes since" in house.log


def meanwhile(house: House, **happens: Callable[[], object]) -> None:
    """Does something just before the n-th request of a kind is answered: `tasks_2` the second for tasks, `project_1` ..."""
    house.studio.requests.clear()

    def look(request: str) -> None:
        kind = "tasks" if request == "GET /api/tasks/" else "project"
        happens.pop(f"{kind}_{house.studio.requests.count(request)}", lambda: None)()

    house.studio.on_request = look


def test_people_who_judge_meanwhile_do_not_make_it_compare_everything(house: House) -> None:
    ids = house.judged(4)
    house.read()

    meanwhile(house, tasks_1=lambda: house.studio.annotate(ids[1], RIGHT))
    tasks = house.read()

    assert len(tasks[1]["annotations"]) == 2
    assert "changes since" in house.log


def test_a_judgement_that_is_deleted_and_made_again_meanwhile_is_kept(house: House) -> None:
    ids = house.judged(4)
    house.read()
    house.studio.delete_annotation(house.annotation(ids[0]))

    meanwhile(
        house,
        tasks_1=lambda: house.studio.annotate(ids[1], RIGHT),
        project_2=lambda: house.studio.annotate(ids[0], RIGHT),
    )
    tasks = house.read()

    assert tasks == house.truth()
    assert ids_of(tasks) == ids
    for _ in range(3):
        house.judged(1)
        assert house.read() == house.truth()
        assert "changes since" in house.log, "it was kept"


def test_a_judgement_that_is_made_and_deleted_meanwhile_is_not_kept(house: House) -> None:
    ids = house.judged(4)
    house.read()
    (new,) = house.studio.add_tasks(house.project.id, {"prompt": "p"})

    meanwhile(
        house,
        tasks_1=lambda: house.studio.annotate(new, RIGHT),
        project_2=lambda: house.studio.delete_annotation(house.annotation(new)),
    )
    tasks = house.read()

    assert tasks == house.truth() == house.read()
    assert ids_of(tasks) == ids


def test_a_task_that_is_deleted_before_it_was_fetched_is_not_known_any_more(house: House) -> None:
    ids = house.judged(4)
    house.read()
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    state = house.project.read()

    meanwhile(house, tasks_2=lambda: house.studio.tasks.pop(ids[0]))
    tasks = read_judgements(house.project, house.folder, state=state, now=house.now)

    assert ids_of(tasks) == ids[1:]


def test_a_judgement_from_a_clock_that_was_set_back_is_noticed_by_the_count(house: House) -> None:
    house.judged(3)
    house.read()
    house.now -= 5 * 60 * MINUTE
    (late,) = house.judged(1)
    house.now += 4 * 60 * MINUTE

    assert late in ids_of(house.read())


@pytest.mark.parametrize("is_first", [True, False], ids=["during the first read", "later"])
def test_a_clock_that_was_ahead_and_is_corrected_hides_no_edit(house: House, is_first: bool) -> None:
    ids = house.judged(3)
    if not is_first:
        house.read()
    house.now += DAY
    house.studio.edit(house.annotation(ids[1]), result=RIGHT)
    house.now -= DAY
    house.read()
    house.now += 10 * MINUTE
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)

    assert house.read()[0]["annotations"][0]["result"] == RIGHT
    assert "changes since" in house.log


def test_a_trainer_whose_clock_was_set_back_reads_all(house: House) -> None:
    house.judged(3)
    house.read()
    house.now -= DAY

    assert len(house.read()) == 3
    assert house.log.endswith("all were read, as the clock was set back")
