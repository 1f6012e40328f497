"""What doctor looks at of one project and its connection: rights, label config, the row, the webhook, /setup.

Covered: all that `connect` can fix is looked at here, by the same reading (links.py).
Not covered: what only a browser shows, and annotators' own rights.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from backend.connecting.config_notes import ALIAS_ADVICE, demonstrations_note, display_notes, not_understood
from backend.connecting.default_label_config import has_no_config
from backend.connecting.links import Links, hook_address, hook_faults, lacks_auth, reach_problem, read_links
from backend.doctor.check import Check, CheckFailed
from backend.doctor.installation import Installation
from preference.errors import LayoutError, StudioError, StudioNotFound
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.layouts import Layout, layout_of
from preference.projects.answer_sides import check_sides
from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import Guidelines, version_of
from preference.projects.versions import Versions
from preference.studio.project import LabelStudioProject

_SETUP_SECONDS = 3.0  # what Label Studio waits for an answer
_SSRF = (
    "if Label Studio refuses that as a private address, start it with SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false"
)


@dataclass
class Examined:
    """One project, and what the checks so far read of it."""

    installation: Installation
    project: LabelStudioProject
    folder: ProjectFolder
    setup_version: str = ""  # what /setup answered
    is_shared: bool = False  # whether /setup changed the MODEL_DIR of this command
    links: Links = field(default_factory=lambda: Links([], [], [], []))

    @property
    def connect(self) -> str:
        """The command that fixes most of it."""
        return f"pairloop-backend connect --project {self.project.id}"

    @cached_property
    def state(self) -> dict[str, Any]:
        """The project's fields."""
        return self.project.read()

    @cached_property
    def layout(self) -> Layout:
        """What its label config says."""
        return layout_of(self.state["label_config"])


def _rights(examined: Examined) -> str:
    try:
        name = examined.state["title"]
        examined.project.webhooks.all()
        examined.project.update()  # changes nothing
    except StudioNotFound:
        number = examined.project.id
        fix = "name a project that is there (the number in its address)"
        if examined.folder.path.is_dir():
            fix = f"if it was deleted, have it forgotten: pairloop-backend disconnect --project {number}"
        raise CheckFailed(
            f"Label Studio shows no project {number} to this key", f"{fix}; or add the key's user to its workspace"
        ) from None
    except StudioError as error:
        raise CheckFailed(str(error), "use the key of a user who may change the project, as an administrator does") from None
    return f'"{name}" can be read and changed'


def _label_config(examined: Examined) -> str:
    try:
        layout = examined.layout
        if isinstance(layout, DemonstrationLayout):
            return f"{layout.control} takes answers to ${layout.prompt_field}; {demonstrations_note(layout)}"
        check_sides(layout, Versions(examined.folder).cards())
    except LayoutError as error:
        fix = "correct it under Settings > Labeling Interface"
        raise CheckFailed(str(error), examined.connect if has_no_config(examined.state) else fix) from None
    does = "compares" if layout.ranker is None else "orders"
    answers = " and ".join(f"${field}" for field in layout.answer_fields)
    question = f" of ${layout.prompt_field}" if layout.prompt_field is not None else ""
    return "; ".join([f"{layout.control} {does} {answers}{question}", *display_notes(layout)])


def _verdict(examined: Examined) -> str:
    layout = examined.layout
    if isinstance(layout, DemonstrationLayout):
        return "there is none"
    if unread := not_understood(layout):
        raise CheckFailed(unread, ALIAS_ADVICE)
    return "every choice is understood" if layout.verdict is not None else "there is none"


def _guidelines(examined: Examined) -> str:
    version = version_of(examined.state.get("expert_instruction"))
    known = Guidelines.read(examined.folder).in_words(version) or "there are none"
    is_hidden = bool(version) and not examined.state.get("show_instruction")
    return f"{known}; Label Studio does not show them before labeling" if is_hidden else known


def _setup(examined: Examined) -> str:
    installation = examined.installation
    question = {
        "project": f"{examined.project.id}.{time.time():.0f}", "schema": examined.state["label_config"],
        "hostname": installation.settings.studio.url, "access_token": "", "extra_params": None,
    }  # fmt: skip
    _set_trace_back(examined.folder)
    before = _trace(examined.folder)
    began = installation.clock()
    try:
        answer = installation.web.post(
            f"{installation.backend}/setup", json=question, timeout=30, auth=installation.basic_auth,
            headers=installation.host_header,
        )  # fmt: skip
        seconds = installation.clock() - began
        body = answer.json()
        if answer.is_error:
            raise CheckFailed(
                f"/setup answers {answer.status_code}: {body.get('error')}",
                "correct what that names; the backend's log says more",
            )
        examined.setup_version = str(body["model_version"])
    except (httpx.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise CheckFailed(f"/setup fails ({type(error).__name__})", "look into the backend's log") from None
    examined.is_shared = _trace(examined.folder) != before
    if seconds >= _SETUP_SECONDS:
        raise CheckFailed(
            f"/setup took {seconds:.1f} s; Label Studio waits {_SETUP_SECONDS:.0f} s",
            "give the backend's machine less to do, or put MODEL_DIR on a faster disk",
        )
    return f"/setup in {1000 * seconds:.0f} ms"


def _shared(examined: Examined) -> str:
    if not examined.is_shared:
        raise CheckFailed(
            f"the backend does not write to MODEL_DIR={examined.installation.settings.model_dir.absolute()}",
            "set the same MODEL_DIR for the backend, the trainer and this command, and start them again",
        )
    return "the backend writes to the same MODEL_DIR"


def _connection(examined: Examined) -> str:
    server = examined.installation.settings.server
    examined.links = links = read_links(examined.project, examined.folder, server)
    if links.old_connections:
        raise CheckFailed(
            f"it is connected at {links.old_connections[0].url}, but the backend is at {server.address}",
            examined.connect,
        )
    if not links.rows:
        raise CheckFailed(f"no connection leads to {server.address}", examined.connect)
    if len(links.rows) > 1:
        raise CheckFailed(f"{len(links.rows)} connections lead to {server.address}", examined.connect)
    row = links.rows[0]
    if lacks_auth(row, server):
        raise CheckFailed("Label Studio does not send the backend its BASIC_AUTH_USER and BASIC_AUTH_PASS", examined.connect)
    if problem := reach_problem(row):
        if row.state == "ER":
            raise CheckFailed(problem, "correct what that names; the backend's log says more")
        aside = ", though it answers here" if examined.installation.backend == server.address else ""
        fix = f"set BACKEND_URL to an address that Label Studio reaches, then: {examined.connect}; {_SSRF}"
        raise CheckFailed(f"{problem}{aside}", fix)
    return f"Label Studio reaches {row.url}"


def _webhook(examined: Examined) -> str:
    server, links = examined.installation.settings.server, examined.links
    if not links.hooks:
        raise CheckFailed(
            f"the connection is half made: it has no webhook to {hook_address(server)}", f"{examined.connect}; {_SSRF}"
        )
    if len(links.hooks) > 1:
        raise CheckFailed(f"{len(links.hooks)} webhooks lead to {hook_address(server)}", examined.connect)
    if links.old_webhooks:
        raise CheckFailed(f"a webhook leads to {links.old_webhooks[0].url}, where the backend was", examined.connect)
    hook = links.hooks[0]
    if faults := hook_faults(hook, server):
        raise CheckFailed(f"the webhook {', '.join(faults)}", examined.connect)
    if examined.installation.backend:
        event = {"action": "DOCTOR", "project": {"id": examined.project.id}}  # the backend ignores what it does not know
        try:
            answer = examined.installation.web.post(
                f"{examined.installation.backend}/webhook", json=event, headers=dict(hook.headers), timeout=5
            )
        except httpx.HTTPError as error:
            raise CheckFailed(f"/webhook fails ({type(error).__name__})", "look into the backend's log") from None
        if answer.status_code == 401:
            fix = "set the same WEBHOOK_SECRET for the backend and this command, start the backend again, then"
            raise CheckFailed("the backend refuses what the webhook sends", f"{fix}: {examined.connect}")
    return f"all events go to {hook.url}"


PROJECT_CHECKS: tuple[Check[Examined], ...] = (
    Check("rights", _rights, needs=["key"]),
    Check("label config", _label_config, needs=["rights"]),
    Check("verdict", _verdict, needs=["label config"]),
    Check("guidelines", _guidelines, needs=["rights"]),
    Check("connection", _connection, needs=["rights", "label config", "backend"]),
    Check("webhook", _webhook, needs=["connection"]),
    # After the connection: a /setup makes the backend look after the project.
    Check("setup", _setup, needs=["backend", "backend access", "connection"]),
    Check("shared MODEL_DIR", _shared, needs=["MODEL_DIR", "setup"]),
)


def _trace(folder: ProjectFolder) -> tuple[int, ...]:
    """When the project's requests last changed. A /setup changes that in the MODEL_DIR that the backend writes to."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in _traced(folder))


def _set_trace_back(folder: ProjectFolder) -> None:
    """Sets those times back: two that are some milliseconds apart may be the same on a disk."""
    for path in _traced(folder):
        with suppress(OSError):  # another user's
            os.utime(path, (0, 0))


def _traced(folder: ProjectFolder) -> tuple[Path, Path]:
    requests = folder.path / "requests"
    return requests, requests / "look"
