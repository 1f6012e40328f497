"""Tabs of a project's Data Manager that list certain tasks, as label-studio 1.23.2 keeps them.

A tab names its tasks one by one: the free edition has no column that says whether people agree. Its editor shows no filter by a list
of ids, but shows "id equal 12 or id equal 15".
"""

from collections.abc import Sequence
from typing import Any

from preference.studio.calls import StudioCalls

THIRD_LOOK = "Pairloop: people disagree"  # the tab of tasks that people judge in different ways
MOST_TASKS = 50  # each is a filter of its own


class Tabs:
    """Reads and writes the tabs of one project."""

    def __init__(self, calls: StudioCalls, project_id: int) -> None:
        self._calls, self._project_id = calls, project_id

    def add(self, title: str) -> bool:
        """Adds a tab of that title, which lists nothing yet; False if there is one already."""
        if self._titled(title) is not None:
            return False
        data = {"title": title, "filters": _only([])}
        self._calls.post(f"api/dm/views/?project={self._project_id}", {"project": self._project_id, "data": data})
        return True

    def fill(self, title: str, task_ids: Sequence[int]) -> bool:
        """Has the tab of that title list these tasks, the last MOST_TASKS of them. Returns whether it listed others before.

        Nothing is done without such a tab: somebody removed or renamed it.
        """
        tab, filters = self._titled(title), _only(list(task_ids)[-MOST_TASKS:])
        if tab is None or _listed(tab["data"].get("filters")) == _listed(filters):
            return False
        data = {**tab["data"], "filters": filters}  # columns and the like stay as people chose them
        self._calls.patch(f"api/dm/views/{tab['id']}/?project={self._project_id}", {"project": self._project_id, "data": data})
        return True

    def _titled(self, title: str) -> dict[str, Any] | None:
        tabs = self._calls.get("api/dm/views/", project=self._project_id)
        return next((tab for tab in tabs if (tab.get("data") or {}).get("title") == title), None)


def _only(task_ids: Sequence[int]) -> dict[str, Any]:
    items = [{"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": each} for each in task_ids or [0]]
    return {"conjunction": "or", "items": items}


def _listed(filters: Any) -> list[Any]:
    items = filters.get("items") if isinstance(filters, dict) else None
    return [item.get("value") for item in items or []]
