"""A project's webhooks, as label-studio 1.23.2 keeps them: apart from the backends for which it made them.

What is listed for a project are its own, not those of the whole organization.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from preference.studio.calls import StudioCalls

_SENDS_ALL = {"send_payload": True, "send_for_all_actions": True, "is_active": True}


@dataclass(frozen=True)
class Webhook:
    """An address to which Label Studio sends a project's events."""

    id: int
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they hold secrets
    actions: tuple[str, ...] = ()  # counts only if it does not get all
    sends_all: bool = True
    sends_details: bool = True  # more than an action's name
    is_active: bool = True


class Webhooks:
    """Reads and writes the webhooks of one project."""

    def __init__(self, calls: StudioCalls, project_id: int) -> None:
        self._calls, self._project_id = calls, project_id

    def all(self) -> list[Webhook]:
        """The project's webhooks, by id."""
        hooks = [
            Webhook(
                hook["id"],
                hook["url"],
                headers=dict(hook.get("headers") or {}),
                actions=tuple(hook.get("actions") or ()),
                sends_all=bool(hook.get("send_for_all_actions")),
                sends_details=bool(hook.get("send_payload")),
                is_active=bool(hook.get("is_active")),
            )
            for hook in self._calls.get("api/webhooks/", project=str(self._project_id))
        ]
        return sorted(hooks, key=lambda hook: hook.id)

    def add(self, url: str, *, headers: Mapping[str, str]) -> None:
        """Has the project's every event sent to that address."""
        self._calls.post("api/webhooks/", {"url": url, "project": self._project_id, "headers": dict(headers), **_SENDS_ALL})

    def fix(self, hook: Webhook, *, headers: Mapping[str, str]) -> None:
        """Has it send every event again, with those headers beside its own."""
        # A PATCH without the actions would clear them.
        fields = {"url": hook.url, "actions": list(hook.actions), "headers": {**hook.headers, **headers}, **_SENDS_ALL}
        self._calls.patch(f"api/webhooks/{hook.id}/", fields)

    def remove(self, hook: Webhook) -> None:
        """Removes it."""
        self._calls.delete(f"api/webhooks/{hook.id}/")
