"""Prompts that are answered before they are imported: some of them are duels, too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preference.duels.duel import is_drawn
from preference.errors import ModelError
from preference.generation.jobs import Job, WrittenAnswers
from preference.projects.generators import BASE
from tests.conftest import SettingsFactory
from tests.support.filling_house import House, RecordingGenerator, warnings_of
from tests.support.generator_versions import publish
from tests.support.importing_house import prompts, rows, run_import, stored_tasks
from tests.support.judged_duels import by_version
from tests.support.openai_engine import scheduling
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def duels_in(house: House) -> dict[str, Any]:
    """Their records, by their prompts."""
    tasks = [task for task in stored_tasks(house) if "duel" in task["meta"]["pairloop"]]
    return {task["data"]["prompt"]: task["meta"]["pairloop"]["duel"] for task in tasks}


def test_prompts_that_are_imported_are_duels_as_often_in_their_order(house: House, tiny_base: Path) -> None:
    house.settings = house.settings.replace(duel_percent=50)
    house.generator = RecordingGenerator(write=by_version)
    version = publish(house.folder, promote=True)
    house.promote(tiny_base, weight=1.0)

    assert run_import(house, rows(30)) == {"imported": 30}

    assert prompts(house) == [f"Prompt {n}" for n in range(30)]
    duels = duels_in(house)
    assert list(duels) == [prompt for prompt in prompts(house) if is_drawn(house.project_id, prompt, 50)] and duels
    assert {(record["new"], record["other"]) for record in duels.values()} == {(version, BASE)}
    for task in stored_tasks(house):
        if record := duels.get(task["data"]["prompt"]):
            assert task["data"][record["new_in"]].startswith(f"{version} of ")
    assert len({record["new_in"] for record in duels.values()}) == 2
    shown = {task["data"]["prompt"]: task["predictions"][0]["result"] for task in stored_tasks(house)}
    assert [prompt for prompt, result in shown.items() if result == []] == list(duels), "nothing is suggested of a duel"


def test_another_engine_that_fails_costs_no_prompt_its_answers(house: House, caplog: pytest.LogCaptureFixture) -> None:
    def fail(job: Job) -> WrittenAnswers:
        raise ModelError("the other one is away")

    house.settings = house.settings.replace(duel_percent=50, duel_with="openai:tiny", generator_engine="echo")
    with scheduling(RecordingGenerator(write=fail)) as house.rival:
        assert run_import(house, rows(30)) == {"imported": 30}

    assert duels_in(house) == {} and house.is_answered(*(task["id"] for task in stored_tasks(house)))
    assert warnings_of(caplog) and all(
        line.endswith("tasks that were to be duels are filled as ordinary ones: the other one is away")
        for line in warnings_of(caplog)
    )
