"""A project's webhooks, as label-studio 1.23.2 keeps them: apart from the backends for which it made them.

What is listed for a project are its own, not those of the whole organization.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from preference.studio.calls import StudioCalls


@dataclass(frozen=True)
class Webhook:
    """Where Label Studio tells of a project's events."""

    id: int
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they hold secrets
    actions: tuple[str, ...] = ()  # counts only where it is not told of all
    tells_all: bool = True
    tells_details: bool = True  # more than an action's name
    is_active: bool = True


class Webhooks:
    """Reads and writes the webhooks of one project."""

    def __init__(self, calls: StudioCalls, project_id: int) -> None:
        self._calls, self._project_id = calls, project_id

    def all(self) -> list[Webhook]:
        """The project's webhooks, by id."""
        listed = self._calls.call(self._calls.client.webhooks.list, project=str(self._project_id))
        found = [
            Webhook(
                hook.id or 0,
                hook.url,
                headers=dict(hook.headers or {}),
                actions=tuple(hook.actions or ()),
                tells_all=bool(hook.send_for_all_actions),
                tells_details=bool(hook.send_payload),
                is_active=bool(hook.is_active),
            )
            for hook in listed
        ]
        return sorted(found, key=lambda hook: hook.id)

    def add(self, url: str, *, headers: Mapping[str, str]) -> None:
        """Has the project's every event told to that address."""
        self._calls.send(
            self._calls.client.webhooks.create,
            url=url,
            project=self._project_id,
            headers=dict(headers),
            send_payload=True,
            send_for_all_actions=True,
            is_active=True,
        )

    def mend(self, hook: Webhook, *, headers: Mapping[str, str]) -> None:
        """Has it tell of every event again, with those headers beside its own."""
        self._calls.call(
            self._calls.client.webhooks.update,
            id=hook.id,
            url=hook.url,
            actions=list(hook.actions),  # a PATCH without them would clear them
            headers={**hook.headers, **headers},
            send_payload=True,
            send_for_all_actions=True,
            is_active=True,
        )

    def remove(self, hook: Webhook) -> None:
        """Removes it."""
        self._calls.call(self._calls.client.webhooks.delete, id=hook.id)
