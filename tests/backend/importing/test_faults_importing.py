"""Imports during which something goes wrong: nothing is lost, and nothing is imported twice."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from preference.errors import ModelError, RegistryError, StudioError, StudioUnreachable
from tests.conftest import SettingsFactory
from tests.support.filling_house import House, RecordingGenerator, warnings_of
from tests.support.importing_house import (
    PROMPTS,
    UnsteadyStudio,
    begin,
    holds_each_once,
    num_imports,
    rows,
    run_import,
    stored_tasks,
)
from tests.support.small_disk import small_disk
from tests.support.studio_double import KEY
from tests.support.studio_records import LABEL_CONFIG


@pytest.fixture
def studio() -> Iterator[UnsteadyStudio]:
    with UnsteadyStudio() as double:
        yield double


@pytest.fixture
def house(studio: UnsteadyStudio, settings_for: SettingsFactory) -> Iterator[House]:
    with House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def test_a_model_that_fails_ends_it_and_a_second_run_brings_the_rest(house: House) -> None:
    def fail(prompts: list[str]) -> None:
        if "Prompt 300" in prompts:
            raise ModelError("out of memory; lower BATCH_PROMPTS.")

    house.generator.meanwhile = fail
    with pytest.raises(ModelError, match="out of memory; lower BATCH_PROMPTS"):
        run_import(house, rows(400))
    num_before = len(stored_tasks(house))
    assert num_before >= 100

    house.generator = RecordingGenerator()

    assert run_import(house, rows(400)) == {"imported": 400 - num_before, PROMPTS: num_before}
    assert holds_each_once(house, 400)


@pytest.mark.parametrize(
    "fates",
    [["lost"], ["taken"], ["half"], ["late"], ["", "taken", "lost", "lost", "half"], ["half", "half", "taken"]],
    ids="-".join,
)
def test_a_connection_that_ends_during_an_import_makes_no_double_and_loses_nothing(
    studio: UnsteadyStudio, house: House, tiny_base: Path, fates: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    studio.fates = list(fates)

    assert run_import(house, rows(210), settle_seconds=20 if "late" in fates else 0.3) == {"imported": 210}

    assert holds_each_once(house, 210) and studio.fates == []
    assert house.versions([task["id"] for task in stored_tasks(house)]) == [[version]] * 210
    assert len(warnings_of(caplog)) == len([fate for fate in fates if fate])
    assert all(
        "tasks wait to be imported: Label Studio at http://127.0.0.1:" in warning and " does not answer (" in warning
        for warning in warnings_of(caplog)
    )
    assert not (house.folder.path / "importing.json").exists()


def test_a_label_studio_that_is_away_is_waited_for(studio: UnsteadyStudio, house: House) -> None:
    """Nothing answers for a while, whatever is asked."""
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: studio.failures.extend([0, 0, 503]), time=2)

    assert run_import(house, rows(250)) == {"imported": 250}

    assert studio.failures == [] and holds_each_once(house, 250)


def test_a_busy_label_studio_is_asked_again(studio: UnsteadyStudio, house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: studio.failures.extend([503, 429]))

    assert run_import(house, rows(3)) == {"imported": 3}

    assert holds_each_once(house, 3) and num_imports(house) == 3
    assert warnings_of(caplog) == []


def test_a_batch_that_label_studio_always_fails_at_ends_it(studio: UnsteadyStudio, house: House) -> None:
    """It says 500 to a text with a NUL if it keeps its tasks in PostgreSQL, however often it is asked."""
    studio.fates = ["", *["lost"] * 99]

    with pytest.raises(StudioUnreachable):
        run_import(house, rows(250), settle_seconds=0.1)

    assert len(stored_tasks(house)) == 100 and num_imports(house) == 1 + 5


def test_tasks_that_label_studio_refuses_end_it_and_the_next_run_waits_for_nothing(studio: UnsteadyStudio, house: House) -> None:
    studio.projects[house.project_id]["label_config"] = LABEL_CONFIG.replace(
        '<View className="prompt">', '<View className="prompt"><Text name="context" value="$context"/>'
    )

    with pytest.raises(StudioError) as refused:
        run_import(house, rows(3))

    assert '"context" key is expected in task data' in str(refused.value)
    assert stored_tasks(house) == [] and not (house.folder.path / "importing.json").exists()


@pytest.mark.parametrize(
    ("fate", "expected"),
    [("taken", {PROMPTS: 20}), ("late", {PROMPTS: 20}), ("half", {PROMPTS: 10, "imported": 10}), ("lost", {"imported": 20})],
)
def test_a_batch_that_an_import_had_sent_when_it_ended_is_looked_for(
    studio: UnsteadyStudio, house: House, fate: str, expected: dict[str, int]
) -> None:
    scheduler = house.scheduler()
    studio.fates = [fate]
    house.before_request(f"POST /api/projects/{house.project_id}/import", scheduler.stop)  # the process ends
    with pytest.raises(StudioUnreachable):
        run_import(house, rows(20), scheduler=scheduler)
    assert (house.folder.path / "importing.json").exists()

    assert run_import(house, rows(20), settle_seconds=20 if fate == "late" else 0.3) == expected

    assert holds_each_once(house, 20)
    assert not (house.folder.path / "importing.json").exists()


def test_a_damaged_note_of_what_was_sent_is_passed_over(house: House) -> None:
    house.folder.path.joinpath("importing.json").write_text('{"half', encoding="utf-8")

    assert run_import(house, rows(3)) == {"imported": 3}
    assert not (house.folder.path / "importing.json").exists()


def test_a_full_disk_ends_an_import_with_a_sentence_and_the_next_one_goes_on(
    studio: UnsteadyStudio, settings_for: SettingsFactory, tmp_path: Path
) -> None:
    settings = settings_for(model_dir=tmp_path / "disk", label_studio_url=studio.url, label_studio_api_key=KEY)
    with small_disk(settings.model_dir) as disk, House(studio, settings) as house:
        disk.leave_free(0)

        with pytest.raises(RegistryError) as refused:
            run_import(house, rows(3))

        assert str(refused.value) == (
            f"MODEL_DIR is not writable at {house.folder.path} (No space left on device); free some space."
        )
        assert stored_tasks(house) == []
        disk.free()
        assert run_import(house, rows(3)) == {"imported": 3}


def test_two_imports_into_one_project_at_once_are_one_too_many(house: House) -> None:
    began, end = threading.Event(), threading.Event()

    def hold(prompts: list[str]) -> None:
        began.set()
        assert end.wait(20)

    house.generator.meanwhile = hold
    first = begin(house)
    running = threading.Thread(target=first.run, args=[[{"data": row} for row in rows(3)]])
    running.start()
    try:
        assert began.wait(20)
        with pytest.raises(RegistryError) as refused:
            run_import(house, rows(5))
    finally:
        end.set()
        running.join()

    assert str(refused.value) == f"Another import into project {house.project_id} is running; wait for its end, or stop it."
    assert run_import(house, rows(5)) == {"imported": 2, PROMPTS: 3}


def test_imports_into_two_projects_do_not_hinder_each_other(house: House) -> None:
    with House(house.studio, house.settings) as other:
        house.generator.meanwhile = lambda prompts: run_import(other, rows(2)) if not stored_tasks(other) else None

        assert run_import(house, rows(3)) == {"imported": 3}

        assert len(stored_tasks(other)) == 2
