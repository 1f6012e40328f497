"""A project's backends (Settings > Model), as label-studio 1.23.2 keeps them. Their webhooks are kept apart (webhooks.py)."""

from dataclasses import dataclass
from typing import Any

from preference.studio.calls import StudioCalls


@dataclass(frozen=True)
class Connection:
    """One backend row."""

    id: int
    url: str
    title: str
    named: str = ""  # the version that the backend itself named when Label Studio asked its /setup last
    state: str = ""  # as Label Studio saw it when the rows were listed: CO (connected), DI (no /health), ER (no /setup), ...
    problem: str = ""  # the reason of state ER
    basic_auth_user: str = ""  # "" if it sends no basic auth


class Connections:
    """Reads and writes the backend rows of one project."""

    def __init__(self, calls: StudioCalls, project_id: int) -> None:
        self._calls, self._project_id = calls, project_id

    def all(self) -> list[Connection]:
        """The project's backends; Label Studio calls /health and /setup of each for that."""
        return [
            Connection(
                row["id"],
                row.get("url") or "",
                row.get("title") or "",
                named=row.get("model_version") or "",
                state=row.get("state") or "",
                problem=row.get("error_message") or "",
                basic_auth_user=(row.get("basic_auth_user") or "") if row.get("basic_auth_pass_is_set") else "",
            )
            for row in self._calls.get("api/ml/", project=self._project_id)
        ]

    def add(self, url: str, *, title: str, basic_auth: tuple[str, str] | None) -> Connection:
        """Adds a backend; Label Studio asks its /health and /setup, and makes the webhook."""
        row = self._calls.post("api/ml/", {"project": self._project_id, "url": url, "title": title, **_sent(basic_auth)})
        return Connection(row["id"], url, title)

    def authorize(self, connection: Connection, basic_auth: tuple[str, str]) -> None:
        """Has Label Studio send that user and password to a backend."""
        self._update(connection, title=connection.title, **_sent(basic_auth))

    def retitle(self, connection: Connection, title: str) -> None:
        """Renames a backend; `project.model_version` follows if it was the old title."""
        self._update(connection, title=title)

    def remove(self, connection: Connection) -> None:
        """Removes a backend row; its webhook stays."""
        self._calls.delete(f"api/ml/{connection.id}")

    def _update(self, connection: Connection, **fields: Any) -> None:
        self._calls.patch(f"api/ml/{connection.id}", {"url": connection.url, "project": self._project_id, **fields})


def _sent(basic_auth: tuple[str, str] | None) -> dict[str, Any]:
    """A row's fields that hold a user and a password."""
    if basic_auth is None:
        return {}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": basic_auth[0], "basic_auth_pass": basic_auth[1]}
