"""What a pass does with a new version: it scores first, shows it when all have its predictions, and ends for the next."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from preference.projects.versions import UNTRAINED
from tests.conftest import SettingsFactory
from tests.support.filling_house import ANSWERED, House
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def watched(house: House, version: str, tasks: list[int]) -> list[int]:
    """How many of the tasks hold a prediction of the version at each PATCH of a task."""
    scored: list[int] = []

    def watch(request: str) -> None:
        if request.startswith("PATCH /api/tasks/"):
            scored.append(sum(version in versions for versions in house.versions(tasks)))

    house.studio.on_request = watch
    return scored


@pytest.mark.parametrize("has_new_version", [True, False])
def test_open_tasks_are_scored_by_a_new_version_before_others_are_answered(
    house: House, tiny_base: Path, has_new_version: bool
) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 3)
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.folder.write_host("backend:9090")
    prompts = house.add_prompts(3)
    scored = watched(house, version, tasks)

    assert house.run_pass(has_new_version=has_new_version)

    assert scored == [3 if has_new_version else 0] * 3
    assert house.versions([*tasks, *prompts]) == [[version]] * 6
    assert house.studio.projects[house.project_id]["model_version"] == version


def test_a_new_version_is_shown_when_every_open_task_has_its_prediction_least_certain_first(
    house: House, tiny_base: Path
) -> None:
    first = house.promote(tiny_base, weight=0.1)
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.folder.write_host("backend:9090")
    lengths = [n * 61 % 130 for n in range(130)]
    tasks = house.add(*({"prompt": f"p{n}", "answer1": "a", "answer2": "a " * (1 + length)} for n, length in enumerate(lengths)))
    assert house.run_pass()
    score = {task: house.studio.tasks[task]["predictions"][0]["score"] for task in tasks}
    second, shown_versions = house.promote(tiny_base, weight=-0.1), []

    def watch(request: str) -> None:
        shown_versions.append(version := house.studio.projects[house.project_id]["model_version"])
        assert all(version in versions for versions in house.versions(tasks)), "uncertainty sampling serves these first"

    house.studio.on_request = watch
    house.studio.bodies.clear()
    assert house.run_pass(has_new_version=True)

    assert shown_versions[0] == first and house.studio.projects[house.project_id]["model_version"] == second
    assert {row["title"] for row in house.studio.rows.values()} == {second}
    bulks = [[prediction["task"] for prediction in body] for body in house.studio.bodies if isinstance(body, list)]
    assert [len(bulk) for bulk in bulks] == [100, 30]
    assert max(score[task] for task in bulks[0]) <= min(score[task] for task in bulks[1])
    assert house.versions(tasks) == [[first, second]] * 130, "what somebody may have open is not removed yet"


def test_a_version_is_not_shown_while_label_studio_refuses_its_predictions(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 3)
    row = house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.folder.write_host("backend:9090")
    assert house.run_pass()
    second = house.promote(tiny_base, weight=-1)

    def refuse(request: str) -> None:
        if request.endswith("/import/predictions"):
            house.studio.failures = [400]

    house.studio.on_request = refuse
    assert house.run_pass(has_new_version=True)
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == first

    house.studio.on_request = lambda request: None
    assert house.run_pass(has_new_version=True)
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == second
    assert house.versions(tasks) == [[first, second]] * 3


def test_a_pass_ends_when_another_version_is_promoted(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(40)
    promoted: list[str] = []

    def promote(prompts: list[str]) -> None:
        if "Prompt 9" in prompts:
            promoted.append(house.promote(tiny_base, weight=-1))

    house.generator.meanwhile = promote
    assert not house.run_pass()
    (second,) = promoted
    answered = [task for task in tasks if house.is_answered(task)]
    assert 10 <= len(answered) < 40
    assert house.patched() == answered == tasks[: len(answered)]
    assert len(house.generator.jobs) == len(answered)
    assert all(versions in ([first], [second]) for versions in house.versions(answered))

    scored = watched(house, second, answered)
    assert house.run_pass(has_new_version=True)

    assert house.is_answered(*tasks)
    assert scored == [len(answered)] * (40 - len(answered))
    assert all(second in versions and len(set(versions)) == len(versions) for versions in house.versions(tasks))
    assert len(house.generator.jobs) == 40


def test_scoring_is_left_between_two_pages_when_it_is_over(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 150)
    house.add_prompts(1)

    assert not house.run_pass(lambda: house.num_bulks() == 1, has_new_version=True)

    assert sum(map(len, house.versions(tasks))) == 100
    assert house.generator.jobs == []
