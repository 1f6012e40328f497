"""A project's connection to this backend: made by `pairloop-backend connect`, mended in the background ever after.

Label Studio keeps its score column and uncertainty sampling working only where the backend's title,
project.model_version and the predictions' model_version are one string: the registry's version.
"""

import logging
from urllib.parse import urlsplit

from preference.errors import StudioError
from preference.layout import LabelingLayout
from preference.registry import UNTRAINED, Registry
from preference.settings import Settings
from preference.studio import Connection, LabelStudioProject

logger = logging.getLogger(__name__)
_SAMPLING = "Uncertainty sampling"


def connect(project: LabelStudioProject, registry: Registry, settings: Settings) -> list[str]:
    """Makes or mends the whole connection; a sentence for each thing that was done.

    Raises:
        LayoutError: the project's label config does not fit.
        StudioError: Label Studio refused; nothing half made is left.
    """
    done = []
    state = project.read()
    LabelingLayout.from_label_config(state["label_config"])
    registry.create()
    version = registry.champion() or UNTRAINED
    host, rows = urlsplit(settings.address).netloc, project.connections()
    if all(urlsplit(row.url).netloc != host for row in rows):
        _add_row(project, settings, version)
        done.append(f"connected {settings.address} as {version}")
        was_at, titles = registry.read_host(), registry.versions()
        for moved in (row for row in rows if row.title in titles or urlsplit(row.url).netloc == was_at):
            project.disconnect(moved)
            done.append(f"removed the connection to {moved.url}, where this backend was")
    secret = settings.webhook_secret.get_secret_value()
    if secret and project.guard_webhook(settings.address, secret):
        done.append("put WEBHOOK_SECRET into the webhook")
    if state.get("sampling") != _SAMPLING:
        project.update(sampling=_SAMPLING)
        done.append("switched uncertainty sampling on")
    ours = next((row for row in project.connections() if urlsplit(row.url).netloc == host), None)
    if ours is not None and _set_version(project, ours, version):
        done.append(f"set title and model version to {version}")
    registry.request("fill")
    return done


def mend_version(
    project: LabelStudioProject, registry: Registry, version: str, *, host: str | None, is_thorough: bool = False
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
    row = _our_row(project, registry, host)
    return row is not None and _set_version(project, row, version)


def _set_version(project: LabelStudioProject, row: Connection, version: str) -> bool:
    """Whether anything had to be set."""
    mended = row.title != version
    if mended:
        project.retitle(row, version)
    if project.read().get("model_version") != version:  # it follows the title only where it was the old title
        project.update(model_version=version)
        mended = True
    return mended


def _our_row(project: LabelStudioProject, registry: Registry, host: str | None) -> Connection | None:
    """The project's row for this backend: one that bears a title we gave it, or the only one at that host."""
    rows, titles = project.connections(), {UNTRAINED, *registry.versions()}
    at_host = [row for row in rows if urlsplit(row.url).netloc == host]
    titled = [row for row in rows if row.title in titles]
    both = [row for row in at_host if row in titled]
    alone = at_host if len(at_host) == 1 else []  # behind a proxy, several backends share a host
    return next(iter(both or alone or titled), None)


def _add_row(project: LabelStudioProject, settings: Settings, version: str) -> None:
    auth = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value()) if settings.basic_auth_user else None
    try:
        project.connect(settings.address, title=version, basic_auth=auth)
    except StudioError as error:
        # Label Studio keeps a half-made row when it refuses a private address: it would predict but never train.
        for row in project.connections():
            if row.url.rstrip("/") == settings.address:
                project.disconnect(row)
        raise StudioError(
            f"Label Studio could not connect {settings.address}: {error}. It must reach that address (set BACKEND_URL), and "
            "for a private one it needs SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false."
        ) from error
