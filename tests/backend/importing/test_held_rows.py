"""What a second import asks Label Studio for, and what it makes of it."""

from collections.abc import Iterator
from itertools import count

import pytest

from backend.importing.held_rows import HeldRows
from backend.importing.known_rows import KnownRows
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task
from tests.conftest import SettingsFactory
from tests.support.filling_house import House
from tests.support.importing_house import PROMPTS, UnsteadyStudio, rows, run_import, stored_tasks
from tests.support.studio_double import KEY
from tests.support.studio_records import LABEL_CONFIG, Fields

HOUR = 3600.0


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with UnsteadyStudio() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def later(house: House, *, seconds: float = HOUR) -> None:
    """Label Studio's clock goes on."""
    now = house.studio.clock()
    house.studio.clock = lambda: now + seconds


def listed(house: House, *, label_config: str = LABEL_CONFIG) -> list[int]:
    """The ids of the tasks that a new process lists to know all that the project holds, without the last one.

    That was made a moment before it was listed, when another might still be stored behind it.
    """
    ids: list[int] = []

    class Watched(LabelStudioProject):
        def all_tasks(self, **options: object) -> Iterator[Task]:
            for task in super().all_tasks(**options):  # type: ignore[arg-type]
                ids.append(task["id"])
                yield task

    project = Watched.for_command(house.settings.studio, house.project_id)
    known = KnownRows(LabelingLayout.from_label_config(label_config))
    HeldRows(house.folder.path, known).read(project)
    for task in stored_tasks(house):
        assert known.holds(task["data"])
    return [number for number in ids if number != ids_of(house)[-1]]


def import_and_another_later(house: House, count: int) -> None:
    """Imports rows, and one more that makes them old."""
    assert run_import(house, rows(count)) == {"imported": count}
    later(house)
    assert run_import(house, [{"prompt": "Later?"}]) == {"imported": 1}
    later(house)


def ids_of(house: House) -> list[int]:
    return [task["id"] for task in stored_tasks(house)]


def test_after_an_import_only_what_changed_is_listed(house: House) -> None:
    import_and_another_later(house, 5)
    assert listed(house) == []

    first = ids_of(house)[0]
    house.studio.annotate(first, [])
    new = house.studio.add_tasks(house.project_id, {"prompt": "By somebody else?", "answer1": "", "answer2": ""})
    assert [*listed(house), *new] == [first, ids_of(house)[5], *new]
    assert run_import(house, [*rows(6), {"prompt": "by somebody else"}]) == {"imported": 1, PROMPTS: 6}


def test_what_the_last_import_made_is_not_listed_even_at_once(house: House) -> None:
    moments = count(int(house.studio.clock()), 2)
    house.studio.clock = lambda: float(next(moments))
    assert run_import(house, rows(9)) == {"imported": 9}
    assert listed(house) == []

    task = stored_tasks(house)[3]
    house.project().store_answers(task["id"], data={**task["data"], "prompt": "Another?"}, meta={})
    assert listed(house) == [task["id"]]


def test_the_rows_of_a_deleted_task_can_be_imported_again(house: House) -> None:
    import_and_another_later(house, 5)
    del house.studio.tasks[ids_of(house)[2]]

    assert listed(house) == ids_of(house)[:-1], "all: nothing says which one is gone"
    assert run_import(house, rows(5)) == {"imported": 1, PROMPTS: 4}


def test_one_task_is_deleted_and_another_made(house: House) -> None:
    import_and_another_later(house, 5)
    del house.studio.tasks[ids_of(house)[2]]
    house.studio.add_tasks(house.project_id, {"prompt": "Another?", "answer1": "", "answer2": ""})

    assert run_import(house, rows(5)) == {"imported": 1, PROMPTS: 4}


def test_a_task_that_was_edited_is_another_row_and_no_longer_the_old_one(house: House) -> None:
    import_and_another_later(house, 3)
    task = stored_tasks(house)[1]
    house.project().store_answers(task["id"], data={**task["data"], "prompt": "Quite another prompt?"}, meta={})

    counts = run_import(house, [*rows(3), {"prompt": "quite another prompt"}])

    assert counts == {"imported": 1, PROMPTS: 3}


def test_what_is_edited_while_an_import_runs_is_known_to_the_next(house: House) -> None:
    import_and_another_later(house, 2)
    first = stored_tasks(house)[0]

    def edit_while_it_runs() -> Iterator[Fields]:
        yield from rows(1, start=2)
        house.project().store_answers(first["id"], data={**first["data"], "prompt": "Edited?"}, meta={})
        later(house)
        yield from rows(1, start=3)

    assert run_import(house, edit_while_it_runs()) == {"imported": 2}
    later(house)

    assert first["id"] not in listed(house), "it was, at the end"
    assert run_import(house, [{"prompt": "Edited?"}, *rows(1)]) == {"imported": 1, PROMPTS: 1}


def test_an_import_that_was_killed_leaves_its_tasks_to_be_listed(house: House) -> None:
    import_and_another_later(house, 2)
    before = (house.folder.path / "held_rows.safetensors").read_bytes()
    assert run_import(house, rows(5)) == {"imported": 3, PROMPTS: 2}
    (house.folder.path / "held_rows.safetensors").write_bytes(before)  # it was killed before the file was written

    assert listed(house) == ids_of(house)[2:-1]
    assert run_import(house, rows(5)) == {PROMPTS: 5}


@pytest.mark.parametrize("content", [b"", b"PK", b"no numbers at all"])
def test_with_a_damaged_file_all_is_listed(house: House, content: bytes) -> None:
    import_and_another_later(house, 3)
    (house.folder.path / "held_rows.safetensors").write_bytes(content)

    assert listed(house) == ids_of(house)[:-1]
    assert run_import(house, rows(3)) == {PROMPTS: 3}
    assert listed(house) == [], "written anew"


def test_under_another_label_config_all_is_listed(house: House) -> None:
    import_and_another_later(house, 3)

    assert listed(house, label_config=LABEL_CONFIG.replace("$answer1", "$other")) == ids_of(house)[:-1]
