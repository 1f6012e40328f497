"""A project's connection to this backend: made by `pairloop-backend connect`, mended in the background ever after.

Label Studio keeps its score column and uncertainty sampling working only where the backend's title,
project.model_version and the predictions' model_version are one string: the champion's name.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.connecting.links import HookFault, Links, hook_address, hook_faults, hook_headers, lacks_auth, read_links
from preference.errors import StudioError, StudioNotFound
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.connections import Connection
from preference.studio.project import LabelStudioProject

UNCERTAINTY = "Uncertainty sampling"
_SEQUENTIAL = "Sequential sampling"  # what a new project has
_NO_CONFIG = re.compile(r"\s*(<View>\s*</View>|<View\s*/>)?\s*")  # so does a new one
_MENDED: dict[HookFault, str] = {
    "does not send WEBHOOK_SECRET": "put WEBHOOK_SECRET into the webhook",
    "does not send all actions": "switched all actions of the webhook on",
    "sends no details": "switched the details of the webhook's events on",
    "is switched off": "switched the webhook on",
}


def connect(project: LabelStudioProject, folder: ProjectFolder, settings: Settings) -> list[str]:
    """Makes or mends the whole connection, and asks for a filling; a sentence for each thing that was done.

    Raises:
        LayoutError: the project's label config does not fit.
        StudioError: Label Studio refused; no row that was added is left.
    """
    done, state = [], project.read()
    if has_no_config(state):
        project.update(label_config=default_label_config(show_rewards=settings.suggesting.show_rewards))
        done.append("set the label config")
    else:
        LabelingLayout.from_label_config(state["label_config"])
    folder.create()
    version = Versions(folder).champion() or UNTRAINED
    links = read_links(project, folder, settings)
    done += _mend_row(project, links, settings, version)
    done += _mend_webhook(project, settings)
    done += _remove(project, links, only_old=True)
    if state.get("sampling") != UNCERTAINTY:
        project.update(sampling=UNCERTAINTY)
        done.append("switched uncertainty sampling on")
    ours = next(iter(read_links(project, folder, settings).rows), None)
    if ours is not None and _set_version(project, ours, version):
        done.append(f"set title and model version to {version}")
    folder.reconnect()
    folder.request("fill")
    return done


def disconnect(project: LabelStudioProject, folder: ProjectFolder, settings: Settings) -> list[str]:
    """Undoes the same, and has both processes forget the project; a sentence for each thing that was removed.

    Tasks, answers, predictions and annotations stay, and so do the versions in MODEL_DIR. Of a project that was deleted in
    Label Studio, there is nothing to remove.

    Raises:
        StudioError: Label Studio refused, or does not have a project that MODEL_DIR never knew.
    """
    try:
        state = project.read()
    except StudioNotFound:
        if not folder.path.is_dir():  # a wrong number
            raise
        folder.disconnect()
        return [f"Label Studio has no project {project.id} any more, or does not show it to this key; nothing looks after it now"]
    done = _remove(project, read_links(project, folder, settings), only_old=False)
    if state.get("sampling") == UNCERTAINTY:
        project.update(sampling=_SEQUENTIAL)
        done.append("switched back to sequential sampling")
    folder.disconnect()  # last: a /setup that comes before the row is gone makes it known again
    return done


def has_no_config(state: Mapping[str, Any]) -> bool:
    """Whether nobody has given the project a label config."""
    return _NO_CONFIG.fullmatch(state["label_config"]) is not None


def default_label_config(*, show_rewards: bool = True) -> str:
    """The label config of a project that has none yet; without rewards, also without the boxes that show them."""
    installed = Path(str(files("backend"))) / "label_config.xml"
    path = installed if installed.is_file() else installed.parent.parent / "label_config.xml"  # of a checkout
    text = path.read_text(encoding="utf-8")
    return text if show_rewards else re.sub(r' *<View className="rewards">.*?\n  </View>\n', "", text, flags=re.DOTALL)


def mend_version(
    project: LabelStudioProject, folder: ProjectFolder, version: str, *, host: str | None, is_thorough: bool = False
) -> bool:
    """Whether the backend's title or project.model_version had to be set to `version`.

    Look again after a while where it is so: Label Studio saves whole rows, so that a page view (or the very request that
    adds a row) which began before puts the title back. Nothing but the row then tells.

    `host`: where Label Studio reached this backend last ("host:port"), or None where it has not yet.
    `is_thorough`: the rows are listed, for which Label Studio calls /health and /setup of each; else only where
    project.model_version is wrong.
    """
    if not is_thorough and project.read().get("model_version") == version:
        return False
    row = _our_row(project, folder, host)
    return row is not None and _set_version(project, row, version)


def _set_version(project: LabelStudioProject, row: Connection, version: str) -> bool:
    """Whether anything had to be set."""
    mended = row.title != version
    if mended:
        project.connections.retitle(row, version)
    if project.read().get("model_version") != version:  # it follows the title only where it was the old title
        project.update(model_version=version)
        mended = True
    return mended


def _our_row(project: LabelStudioProject, folder: ProjectFolder, host: str | None) -> Connection | None:
    """The project's row for this backend: one that bears a title we gave it, or the only one at that host."""
    rows, titles = project.connections.all(), {UNTRAINED, *Versions(folder).all()}
    at_host = [row for row in rows if urlsplit(row.url).netloc == host]
    titled = [row for row in rows if row.title in titles]
    both = [row for row in at_host if row in titled]
    alone = at_host if len(at_host) == 1 else []  # behind a proxy, several backends share a host
    return next(iter(both or alone or titled), None)


def _mend_row(project: LabelStudioProject, links: Links, settings: Settings, version: str) -> list[str]:
    if not links.rows:
        _add_row(project, settings, version)
        return [f"connected {settings.server.address} as {version}"]
    done = []
    ours, *doubles = links.rows
    for row in doubles:
        project.connections.remove(row)
        done.append(f"removed a second connection to {settings.server.address}")
    auth = _basic_auth(settings)
    if auth is not None and lacks_auth(ours, settings):
        project.connections.authorize(ours, auth)
        done.append("put BASIC_AUTH_USER and BASIC_AUTH_PASS into the connection")
    return done


def _mend_webhook(project: LabelStudioProject, settings: Settings) -> list[str]:
    """After the row, with which Label Studio makes it."""
    hooks = [hook for hook in project.webhooks.all() if hook.url == hook_address(settings)]
    if not hooks:
        try:
            project.webhooks.add(hook_address(settings), headers=hook_headers(settings))
        except StudioError as error:
            raise _refused(settings, error) from error
        return ["made the webhook, which was missing"]
    ours, *doubles = hooks
    faults, done = hook_faults(ours, settings), []
    for hook in doubles:
        project.webhooks.remove(hook)
        done.append("removed a second webhook to the same address")
    if faults:
        project.webhooks.mend(ours, headers=hook_headers(settings))
    return done + [_MENDED[fault] for fault in faults]


def _remove(project: LabelStudioProject, links: Links, *, only_old: bool) -> list[str]:
    """Removes the rows and webhooks of this backend, or those alone that lead to where it was."""
    done = []
    for row in links.moved + ([] if only_old else links.rows):
        project.connections.remove(row)
        done.append(f"removed the connection to {row.url}" + (", where this backend was" if row in links.moved else ""))
    for hook in links.stray + ([] if only_old else links.hooks):
        project.webhooks.remove(hook)
        done.append(f"removed the webhook to {hook.url}" + (", where this backend was" if hook in links.stray else ""))
    return done


def _add_row(project: LabelStudioProject, settings: Settings, version: str) -> None:
    try:
        project.connections.add(settings.server.address, title=version, basic_auth=_basic_auth(settings))
    except StudioError as error:
        # Label Studio keeps a half-made row when it refuses a private address: it would predict but never train.
        for row in project.connections.all():
            if row.url.rstrip("/") == settings.server.address:
                project.connections.remove(row)
        raise _refused(settings, error) from error


def _refused(settings: Settings, error: StudioError) -> StudioError:
    return StudioError(
        f"Label Studio could not connect {settings.server.address}: {error}. It must reach that address (set BACKEND_URL), and "
        "for a private one it needs SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false."
    )


def _basic_auth(settings: Settings) -> tuple[str, str] | None:
    """The user and the password that this backend asks for."""
    return (
        (settings.server.basic_auth_user, settings.server.basic_auth_pass.get_secret_value())
        if settings.server.basic_auth_user
        else None
    )
