"""What `pairloop-backend connect` makes sure of before it changes anything: the project is there, and the backend answers."""

import click
import httpx
from tenacity import RetryError, Retrying, stop_after_delay, wait_fixed

from preference.certificates import certificates
from preference.errors import StudioNotFound
from preference.setting_groups import ServerSettings, StudioSettings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields


def read_project(project: LabelStudioProject, studio: StudioSettings) -> ProjectFields:
    """The project's fields.

    Raises:
        StudioNotFound: there is no such project, which lists those that there are.
        StudioError: Label Studio does not answer, or refuses.
    """
    try:
        return project.read()
    except StudioNotFound:
        titles = Account(studio).titles().items()
        known = ", ".join(f"{number} ({title})" for number, title in titles) or "none"
        raise StudioNotFound(f"Label Studio shows no project {project.id} to this key; it shows: {known}.") from None


def wait_for_backend(server: ServerSettings) -> None:
    """Returns when it answers, or says on stderr that it does not."""
    if not _is_up(f"{server.address}/health"):  # from here; only Label Studio has to reach it
        click.echo(f"no answer from {server.address}/health; asking Label Studio all the same", err=True)


def _is_up(url: str) -> bool:
    """Whether the backend answers within a while; one that was just started takes some ten seconds."""
    try:
        for attempt in Retrying(stop=stop_after_delay(45), wait=wait_fixed(0.5)):
            with attempt:
                httpx.get(url, timeout=2, verify=certificates()).raise_for_status()
    except RetryError:
        return False
    return True
