"""`pairloop-backend connect` and `disconnect`: a project's whole connection to this backend, made or fixed, and undone."""

from collections.abc import Iterator, Sequence

from backend.connecting.default_label_config import default_label_config, has_no_config
from backend.connecting.links import (
    REACH_ADVICE,
    HookFault,
    Links,
    hook_address,
    hook_faults,
    hook_headers,
    lacks_auth,
    own_hooks,
    reach_problem,
    read_links,
)
from backend.connecting.shown_version import show_version
from backend.connecting.task_order import restore_order, set_order
from preference.errors import StudioError, StudioNotFound
from preference.formatting import plural
from preference.labelling.layouts import layout_of
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.setting_groups import ServerSettings
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields
from preference.studio.webhooks import Webhook

_FIXED: dict[HookFault, str] = {
    "does not send WEBHOOK_SECRET": "put WEBHOOK_SECRET into the webhook",
    "does not send all actions": "switched all actions of the webhook on",
    "sends no details": "switched the details of the webhook's events on",
    "is switched off": "switched the webhook on",
}


def connect(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, *, state: ProjectFields | None = None
) -> Iterator[str]:
    """Makes or fixes the whole connection, and asks the filler for a pass. Yields a sentence for each thing that was done.

    `state`: what `project.read` gave just before. If there is nothing to do, Label Studio is asked three times, `project.read`
    included.

    Raises:
        LayoutError: the project's label config does not fit.
        StudioError: Label Studio refused, and no row that was added stays; or it does not reach the backend.
    """
    state = project.read() if state is None else state
    if has_no_config(state):
        project.update(label_config=default_label_config(show_rewards=settings.suggesting.show_rewards))
        yield "set the label config"
    else:
        layout_of(state["label_config"])
    folder.create()
    version = Versions(folder).champion() or UNTRAINED
    server = settings.server
    links = read_links(project, folder, server)
    done = _fix_row(project, links, server, version)
    # Label Studio makes the webhook together with the row.
    done += _fix_webhook(project, links.hooks if links.rows else own_hooks(project.webhooks.all(), server), server)
    done += _remove(project, links, only_old=True)
    done += set_order(project, folder, state, settings.suggesting.order, is_new=not links.rows)
    yield from done
    if done:  # which may have changed what Label Studio shows
        state, links = project.read(), read_links(project, folder, server)
    ours = next(iter(links.rows), None)
    if ours is not None and show_version(project, ours, version, model_version=state.get("model_version")):
        yield f"set title and model version to {version}"
    folder.reconnect()
    folder.request("fill")
    if ours is not None and (problem := reach_problem(ours)):
        raise StudioError(f"{problem}. {REACH_ADVICE}")


def disconnect(project: LabelStudioProject, folder: ProjectFolder, settings: Settings) -> list[str]:
    """Undoes the connection, and makes both processes forget the project. Returns a sentence for each thing that was removed.

    Tasks, answers, predictions and annotations stay, but for repeats that nobody judged, and so do the versions in MODEL_DIR. If the project was deleted in Label
    Studio, there is nothing to remove.

    Raises:
        StudioError: Label Studio refused, or does not have a project that MODEL_DIR never knew.
    """
    from backend.new_tasks.repeats import end_repeats  # a connect does not wait for it

    try:
        state = project.read()
    except StudioNotFound:
        if not folder.path.is_dir():  # a wrong number
            raise
        folder.disconnect()
        return [f"Label Studio has no project {project.id} any more, or does not show it to this key; nothing looks after it now"]
    done = _remove(project, read_links(project, folder, settings.server), only_old=False)
    done += restore_order(project, folder, state, settings.suggesting.order)
    if num_repeats := end_repeats(project, folder):
        done.append(f"removed {num_repeats} {plural(num_repeats, 'comparison')} that came back, which nobody judged")
    folder.disconnect()  # last: a /setup before the row is removed makes the project known again
    return done


def _fix_row(project: LabelStudioProject, links: Links, server: ServerSettings, version: str) -> list[str]:
    if not links.rows:
        _add_row(project, server, version)
        return [f"connected {server.address} as {version}"]
    done = []
    ours, *doubles = links.rows
    for row in doubles:
        project.connections.remove(row)
        done.append(f"removed a second connection to {server.address}")
    auth = _basic_auth(server)
    if auth is not None and lacks_auth(ours, server):
        project.connections.authorize(ours, auth)
        done.append("put BASIC_AUTH_USER and BASIC_AUTH_PASS into the connection")
    return done


def _fix_webhook(project: LabelStudioProject, hooks: Sequence[Webhook], server: ServerSettings) -> list[str]:
    if not hooks:
        try:
            project.webhooks.add(hook_address(server), headers=hook_headers(server))
        except StudioError as error:
            raise _refused(server, error) from error
        return ["made the webhook, which was missing"]
    ours, *doubles = hooks
    faults, done = hook_faults(ours, server), []
    for hook in doubles:
        project.webhooks.remove(hook)
        done.append("removed a second webhook to the same address")
    if faults:
        project.webhooks.fix(ours, headers=hook_headers(server))
    return done + [_FIXED[fault] for fault in faults]


def _remove(project: LabelStudioProject, links: Links, *, only_old: bool) -> list[str]:
    """Removes the rows and webhooks at this backend's old addresses. Without `only_old`, also those at its present one."""
    done = []
    for row in links.old_connections + ([] if only_old else links.rows):
        project.connections.remove(row)
        done.append(f"removed the connection to {row.url}" + (", where this backend was" if row in links.old_connections else ""))
    for hook in links.old_webhooks + ([] if only_old else links.hooks):
        project.webhooks.remove(hook)
        done.append(f"removed the webhook to {hook.url}" + (", where this backend was" if hook in links.old_webhooks else ""))
    return done


def _add_row(project: LabelStudioProject, server: ServerSettings, version: str) -> None:
    try:
        project.connections.add(server.address, title=version, basic_auth=_basic_auth(server))
    except StudioError as error:
        # Label Studio keeps a half-made row when it refuses a private address: it would predict but never train.
        for row in project.connections.all():
            if row.url.rstrip("/") == server.address:
                project.connections.remove(row)
        raise _refused(server, error) from error


def _refused(server: ServerSettings, error: StudioError) -> StudioError:
    return StudioError(f"Label Studio could not connect {server.address}: {error}. {REACH_ADVICE}")


def _basic_auth(server: ServerSettings) -> tuple[str, str] | None:
    """The user and the password that this backend asks for."""
    return (server.basic_auth_user, server.basic_auth_pass.get_secret_value()) if server.basic_auth_user else None
