"""What a project holds of this backend: its rows under Settings > Model, and the webhooks that Label Studio made for them.

Label Studio asks a row for predictions, and sends events to a webhook. The two are apart. If Label Studio refuses a private
address, it keeps the row and makes no webhook. If a row is removed, its webhook stays. Who edits a webhook may clear its actions.
Covered: what is at another address counts as this backend's only by more than a host, which whoever calls /setup may name: a row
by a version of the project, which it bears or its backend named, a webhook by its row, or by WEBHOOK_SECRET.
Not covered: another Pairloop without a version, at the host where this one was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.setting_groups import ServerSettings
from preference.studio.connections import Connection
from preference.studio.project import LabelStudioProject
from preference.studio.webhooks import Webhook

REACH_ADVICE = (
    "It must reach that address (set BACKEND_URL), and for a private one it needs SSRF_PROTECTION_ENABLED=false and "
    "ML_BLOCK_LOCAL_IP=false."
)
HookFault = Literal["does not send WEBHOOK_SECRET", "does not send all actions", "sends no details", "is switched off"]


@dataclass(frozen=True)
class Links:
    """The rows and webhooks of one project that are this backend's."""

    rows: list[Connection]  # at its address, the one to keep first; more than one is too many
    old_connections: list[Connection]  # at an address where it was before
    hooks: list[Webhook]  # at its address, by id
    old_webhooks: list[Webhook]  # at an address where it was before


def read_links(project: LabelStudioProject, folder: ProjectFolder, server: ServerSettings) -> Links:
    """The links that Label Studio holds. To list the rows, it calls /health and /setup of each."""
    versions, rows = Versions(folder).all(), project.connections.all()
    home, was_at = urlsplit(server.address).netloc, folder.read_host()
    if was_at == home:
        was_at = None
    ours = [row for row in rows if row.url.rstrip("/") == server.address]
    old = [row for row in rows if row not in ours and _was_ours(row, versions, was_at=was_at)]
    old_addresses = {f"{row.url.rstrip('/')}/webhook" for row in old}
    hooks = project.webhooks.all()
    return Links(
        rows=sorted(ours, key=lambda row: (row.title not in (UNTRAINED, *versions), row.id)),
        old_connections=old,
        hooks=own_hooks(hooks, server),
        old_webhooks=[
            hook for hook in hooks if hook.url in old_addresses or (_is_at(hook.url, was_at) and _has_secret(hook, server))
        ],
    )


def _was_ours(row: Connection, versions: Sequence[str], *, was_at: str | None) -> bool:
    """Whether a row at another address is this backend's."""
    names = {row.title, row.named}
    return not names.isdisjoint(versions) or (UNTRAINED in names and _is_at(row.url, was_at))


def _is_at(url: str, host: str | None) -> bool:
    return urlsplit(url).netloc == host


def _has_secret(hook: Webhook, server: ServerSettings) -> bool:
    """Whether a webhook sends WEBHOOK_SECRET, which nobody but `connect` puts there."""
    secret = hook_headers(server)
    return bool(secret) and secret.items() <= hook.headers.items()


def own_hooks(hooks: Iterable[Webhook], server: ServerSettings) -> list[Webhook]:
    """Those of the webhooks that lead to this backend."""
    return [hook for hook in hooks if hook.url == hook_address(server)]


def hook_address(server: ServerSettings) -> str:
    """Where this backend takes events, as Label Studio writes it."""
    return f"{server.address}/webhook"


def hook_headers(server: ServerSettings) -> dict[str, str]:
    """What a webhook must send: Label Studio gives it no basic auth."""
    secret = server.webhook_secret.get_secret_value()
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def hook_faults(hook: Webhook, server: ServerSettings) -> list[HookFault]:
    """What is wrong with a webhook of ours."""
    has_fault: dict[HookFault, bool] = {
        "does not send WEBHOOK_SECRET": not hook_headers(server).items() <= hook.headers.items(),
        "does not send all actions": not hook.sends_all,
        "sends no details": not hook.sends_details,
        "is switched off": not hook.is_active,
    }
    return [fault for fault, is_faulty in has_fault.items() if is_faulty]


def reach_problem(row: Connection) -> str:
    """How Label Studio failed to call the backend when the rows were listed; empty if it did not fail."""
    if row.state == "DI":
        return f"Label Studio does not reach {row.url}"
    return f"Label Studio finds an error at {row.url}: {row.problem}" if row.state == "ER" else ""


def lacks_auth(row: Connection, server: ServerSettings) -> bool:
    """Whether Label Studio sends the backend another user or password than the backend asks for.

    Label Studio never shows the password. A wrong one is recognized by the 401 that it got.
    """
    is_refused = row.state == "ER" and "401" in row.problem
    return bool(server.basic_auth_user) and (is_refused or row.basic_auth_user != server.basic_auth_user)
