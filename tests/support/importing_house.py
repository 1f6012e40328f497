"""Imports into a Label Studio that may go away at any moment."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from backend.generators.scheduler import Scheduler
from backend.importing.importer import Import
from preference.studio.task import Task
from tests.support.filling_house import EMPTY, House
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import Fields

PROMPTS = "skipped, the project holds the prompt"
COMPARISONS = "skipped, the project holds the comparison"


class UnsteadyStudio(StudioDouble):
    """A Label Studio that goes away during imports; its `fates` are what becomes of the next ones.

    lost     the connection ends before it took the tasks
    taken    it ends after that
    half     it ends after the first half
    late     it ends, and the tasks are stored when tasks are listed for the second time from then on
    """

    def __init__(self) -> None:
        super().__init__()
        self.fates: list[str] = []
        self.late: list[Callable[[], object]] = []  # what happens at the next listings

    def _import_tasks(self, project: Fields, body: list[Fields]) -> Fields:
        take = super()._import_tasks
        fate = self.fates.pop(0) if self.fates else ""
        match fate:
            case "taken":
                take(project, body)
            case "half":
                take(project, body[: len(body) // 2])
            case "late":
                self.late = [lambda: None, lambda: take(project, body)]
            case "":
                return take(project, body)
        raise ConnectionAbortedError(fate)

    def _list_tasks(self, query: Fields) -> Fields:
        if self.late:
            self.late.pop(0)()
        return super()._list_tasks(query)


def begin(house: House, *, scheduler: Scheduler | None = None, settle_seconds: float = 0.3, most_seconds: float = 5.0) -> Import:
    """An import of a new process, which hardly waits for what Label Studio may still be storing."""
    bench = house.bench(scheduler)
    return Import.open(house.project(), house.folder, bench, settle_seconds=settle_seconds, most_seconds=most_seconds)


def run_import(house: House, rows: Iterable[Fields], **changes: Any) -> Counter[str]:
    """What an import says of its rows, each of which is a task's data."""
    return import_tasks(house, ({"data": row} for row in rows), **changes)


def import_tasks(house: House, tasks: Iterable[Task], **changes: Any) -> Counter[str]:
    """What an import says of its tasks."""
    work = begin(house, **changes)
    work.run(tasks)
    return work.counts


def rows(count: int, *, start: int = 0) -> list[Fields]:
    return [{"prompt": f"Prompt {n}", **EMPTY} for n in range(start, start + count)]


def stored_tasks(house: House) -> list[Fields]:
    """The project's tasks, in the order in which they were made."""
    return [task for task in house.studio.tasks.values() if task["project"] == house.project_id]


def prompts(house: House) -> list[Any]:
    return [task["data"].get("prompt") for task in stored_tasks(house)]


def num_imports(house: House) -> int:
    return house.studio.requests.count(f"POST /api/projects/{house.project_id}/import")


def holds_each_once(house: House, count: int) -> bool:
    """Whether it holds "Prompt 0" and so on, each once and answered."""
    assert sorted(prompts(house)) == sorted(row["prompt"] for row in rows(count))
    return house.is_answered(*(task["id"] for task in stored_tasks(house)))
