from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from backend.filling.outdated_predictions import remove_outdated
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.filling_house import CHOICE
from tests.support.studio_double import KEY, StudioDouble

V1, V2, V3 = "v1-20260101-000000", "v2-20260102-000000", "v3-20260103-000000"
NOW = datetime(2026, 1, 10, 3, 0, tzinfo=UTC)


class Tasks:
    """Answered tasks of a double whose clock is set before each prediction."""

    def __init__(self, studio: StudioDouble, project: LabelStudioProject) -> None:
        self.studio, self.project = studio, project

    def add(self, *predictions: tuple[str, float]) -> int:
        """A task with predictions of these versions, each so many hours old."""
        (task,) = self.studio.add_tasks(self.project.id, {"prompt": "p", "answer1": "a", "answer2": "b"})
        for version, hours in predictions:
            self.studio.clock = lambda hours=hours: (NOW - timedelta(hours=hours)).timestamp()  # type: ignore[misc]
            self.project.store_predictions([{"task": task, "result": CHOICE, "score": 0.7, "model_version": version}])
        return task

    def remove(self, *, served: str = V3, above: int = 0) -> int:
        return remove_outdated(self.project, [V1, V2, V3], served=served, above=above, now=NOW)


@pytest.fixture
def tasks(settings_for: SettingsFactory) -> Iterator[Tasks]:
    with StudioDouble() as studio:
        settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
        yield Tasks(studio, LabelStudioProject(settings.studio, studio.add_project()))


@pytest.mark.parametrize(
    ("predictions", "left"),
    [
        ([(V1, 60), (V2, 30), (V3, 25)], [V3]),
        ([(V1, 60), (V2, 30), (V3, 1)], [V2, V3]),  # whoever opened the page before the last hour holds the second
        ([(V1, 60), (V2, 23.9)], [V1, V2]),
        ([(V1, 60), (V2, 24.1)], [V2]),
        ([(V1, 60)], [V1]),
        ([(V1, 60), ("a neighbour's model", 30)], [V1, "a neighbour's model"]),
        ([("a neighbour's model", 60), (V1, 50), (V2, 30)], ["a neighbour's model", V2]),
        ([(V1, 60), (V1, 59)], [V1, V1]),
        ([], []),
    ],
)
def test_predictions_that_were_replaced_a_day_ago_are_removed(
    tasks: Tasks, predictions: list[tuple[str, float]], left: list[str]
) -> None:
    task = tasks.add(*predictions)

    tasks.remove()

    assert tasks.studio.versions_of(task) == left


def test_after_a_rollback_the_served_version_stays_although_a_newer_one_stands_beside_it(tasks: Tasks) -> None:
    task = tasks.add((V1, 90), (V2, 60), (V3, 30))

    tasks.remove(served=V2)

    assert tasks.studio.versions_of(task) == [V2, V3]


def test_judged_skipped_and_begun_tasks_keep_the_predictions_of_their_annotator(tasks: Tasks) -> None:
    judged, skipped, begun, untouched = (tasks.add((V1, 60), (V3, 30)) for _ in range(4))
    tasks.studio.annotate(judged, CHOICE)
    tasks.studio.annotate(skipped, [], is_skip=True)
    tasks.studio.tasks[begun]["drafts"] = [{"id": 1, "result": CHOICE}]

    tasks.remove()

    assert [tasks.studio.versions_of(task) for task in (judged, skipped, begun, untouched)] == [[V1, V3]] * 3 + [[V3]]


def test_one_page_is_cleaned_at_a_time_and_then_it_begins_again(tasks: Tasks) -> None:
    every = [tasks.add((V1, 60), (V3, 30)) for _ in range(105)]

    place = tasks.remove()
    assert place == every[99]
    assert {tuple(tasks.studio.versions_of(task)) for task in every[:100]} == {(V3,)}
    assert {tuple(tasks.studio.versions_of(task)) for task in every[100:]} == {(V1, V3)}

    assert tasks.remove(above=place) == every[-1]
    assert tasks.remove(above=every[-1]) == 0
    assert {tuple(tasks.studio.versions_of(task)) for task in every} == {(V3,)}
