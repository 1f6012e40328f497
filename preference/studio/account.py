"""Label Studio as a whole, and whom LABEL_STUDIO_API_KEY stands for. Measured on label-studio 1.23.2."""

import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx

from preference.errors import StudioUnreachable
from preference.labelling.label_config import without_declaration
from preference.settings import Settings
from preference.studio.calls import StudioCalls
from preference.studio.project import LabelStudioProject

KindOfKey = Literal["none", "personal access token", "legacy token"]


@dataclass(frozen=True)
class Greeting:
    """What a Label Studio tells to everyone."""

    version: str  # such as "1.23.2", with its edition
    clock_ahead_seconds: float | None  # of ours; None where it does not tell the time


def greet(settings: Settings, *, timeout_seconds: float = 10) -> Greeting:
    """What the Label Studio at LABEL_STUDIO_URL tells to everyone.

    Raises:
        StudioUnreachable: nothing answers there, or no Label Studio.
    """
    url = settings.studio.url
    try:
        began = time.time()
        answer = httpx.get(f"{url}/api/version", timeout=timeout_seconds, follow_redirects=True)
        midway = (began + time.time()) / 2
    except httpx.HTTPError as error:
        raise StudioUnreachable(f"nothing answers at {url} ({type(error).__name__})") from error
    try:
        told = answer.raise_for_status().json()
        version = f"{told['release']} {told.get('edition', '')}".strip()
    except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StudioUnreachable(f"what answers at {url} is no Label Studio (status {answer.status_code})") from error
    return Greeting(version, _seconds_ahead(answer.headers.get("Date", ""), midway))


def kind_of_key(settings: Settings) -> KindOfKey:
    """Which kind of token LABEL_STUDIO_API_KEY holds, by its form."""
    key = settings.studio.api_key.get_secret_value()
    if not key:
        return "none"
    return "personal access token" if key.count(".") == 2 else "legacy token"  # a JWT has three parts, the other is 40 hex digits


class Account:
    """Whom the key stands for."""

    def __init__(self, settings: Settings, *, patience_seconds: float = 20) -> None:
        """`patience_seconds`: how long one call is repeated while Label Studio does not answer."""
        self._settings = settings
        self._calls = StudioCalls(settings, 0, patience_seconds=patience_seconds, timeout_seconds=60, stop=threading.Event())

    def name(self) -> str:
        """The user's email address.

        Raises:
            StudioKeyError: Label Studio does not accept the key.
        """
        user = self._calls.call(self._calls.client.users.whoami)
        return str(user.email or user.username)

    def projects_titled(self, title: str) -> list[int]:
        """The ids of the projects with exactly that title."""
        page: Any = self._calls.call(self._calls.client.projects.list, title=title, include="id,title", page_size=100)
        found: list[Any] = list(page.items or [])  # of those whose title holds this one
        return sorted(project.id for project in found if project.title == title and project.id)

    def create_project(self, *, title: str, label_config: str) -> LabelStudioProject:
        """A new project of that title (at least 3 characters) and label config."""
        create, label_config = self._calls.client.projects.create, without_declaration(label_config)
        created = self._calls.send(create, title=title, label_config=label_config)
        return LabelStudioProject.for_daemon(self._settings, int(created.id or 0))


def _seconds_ahead(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (TypeError, ValueError):
        return None
