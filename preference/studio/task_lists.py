"""Lists of a project's tasks, page after page, as Label Studio gives them. project.py describes what each list is for."""

from collections.abc import Iterator, Sequence
from typing import Any

from preference.studio.calls import StudioCalls
from preference.studio.task import Task, as_task
from preference.studio.task_filters import Line, filter_query

_COLUMNS = "id,data,meta,total_annotations,cancelled_annotations,predictions_model_versions"


class TaskLists:
    """The lists of one project's tasks."""

    def __init__(self, calls: StudioCalls, project_id: int) -> None:
        self._calls, self._project_id = calls, project_id

    def pages(self, lines: Sequence[Line], conjunction: str, page_size: int, **options: Any) -> Iterator[tuple[list[Task], int]]:
        """Pages by ascending id, each with how many tasks follow. `options`: the columns, if not the usual ones.

        Each asks for ids above the last, so tasks that leave the filter shift nothing.
        """
        last_id = 0
        while True:
            query = filter_query(lines, conjunction, ordering="id", above=last_id)
            columns = options or {"include": _COLUMNS}
            page, total = self.page(page=1, page_size=page_size, query=query, **columns)
            if page:
                yield page, max(0, total - len(page))
            if len(page) < page_size:
                return
            last_id = page[-1]["id"]

    def page(self, **arguments: Any) -> tuple[list[Task], int]:
        """One page, and how many tasks the list has in all."""
        # With "task_only", Label Studio omits annotations, predictions and every column that it computes, even of a list without any.
        # Unless told not to, it writes addresses of its own into `data` for files in a storage, and asks for the storages, task by task.
        options = {"fields": "all", "resolve_uri": "false", **arguments}
        listed = self._calls.get("api/tasks/", project=self._project_id, **options)
        return [as_task(task) for task in listed["tasks"]], int(listed["total"])
