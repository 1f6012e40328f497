import pytest

from preference.studio.project import LabelStudioProject
from preference.studio.tabs import MOST_TASKS
from tests.support.studio_double import StudioDouble


def listed(studio: StudioDouble, title: str = "Odd ones") -> list[int]:
    (tab,) = (tab for tab in studio.tabs.values() if tab["data"]["title"] == title)
    items = tab["data"]["filters"]["items"]
    assert all((item["filter"], item["operator"], item["type"]) == ("filter:tasks:id", "equal", "Number") for item in items)
    return [item["value"] for item in items]


def test_a_tab_is_made_once_and_lists_nothing_at_first(studio: StudioDouble, project: LabelStudioProject) -> None:
    assert [project.tabs.add("Odd ones"), project.tabs.add("Odd ones")] == [True, False]

    assert listed(studio) == [0], "no task has that id; without any filter it would list all"


def test_a_tab_lists_the_latest_tasks_and_keeps_what_people_chose(studio: StudioDouble, project: LabelStudioProject) -> None:
    project.tabs.add("Odd ones")
    (tab,) = studio.tabs.values()
    tab["data"]["hiddenColumns"] = {"explore": ["tasks:inner_id"]}

    assert project.tabs.fill("Odd ones", range(1, MOST_TASKS + 3))
    assert listed(studio) == list(range(3, MOST_TASKS + 3))
    (tab,) = studio.tabs.values()
    assert tab["data"]["hiddenColumns"] == {"explore": ["tasks:inner_id"]}
    studio.requests.clear()
    assert not project.tabs.fill("Odd ones", range(1, MOST_TASKS + 3))
    assert studio.requests == ["GET /api/dm/views/"]


@pytest.mark.parametrize("data", [{"title": "Default"}, {}, None])
def test_a_tab_that_somebody_removed_stays_removed(studio: StudioDouble, project: LabelStudioProject, data: object) -> None:
    studio.add_tab(project.id, data)  # type: ignore[arg-type]

    assert not project.tabs.fill("Odd ones", [1])
    assert len(studio.tabs) == 1
