"""Label Studio as a whole, and whom the key stands for. Measured on label-studio 1.23.2."""

import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx

from preference.certificates import certificates
from preference.errors import StudioUnreachable
from preference.labelling.config_tags import without_declaration
from preference.setting_groups import StudioSettings
from preference.studio.calls import StudioCalls
from preference.studio.key import read_key
from preference.studio.project import LabelStudioProject

KindOfKey = Literal["none", "personal access token", "legacy token"]


@dataclass(frozen=True)
class Greeting:
    """What a Label Studio answers to everyone."""

    version: str  # such as "1.23.2", with its edition
    clock_ahead_seconds: float | None  # of ours; None if it does not send the time


def greet(settings: StudioSettings, *, timeout_seconds: float = 10) -> Greeting:
    """What the Label Studio at LABEL_STUDIO_URL answers to everyone.

    Raises:
        StudioUnreachable: nothing answers there, or no Label Studio.
    """
    url = settings.url
    try:
        began = time.time()
        answer = httpx.get(f"{url}/api/version", timeout=timeout_seconds, follow_redirects=True, verify=certificates())
        midway = (began + time.time()) / 2
    except httpx.HTTPError as error:
        raise StudioUnreachable(f"nothing answers at {url} ({type(error).__name__})") from error
    try:
        fields = answer.raise_for_status().json()
        version = f"{fields['release']} {fields.get('edition', '')}".strip()
    except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StudioUnreachable(f"what answers at {url} is no Label Studio (status {answer.status_code})") from error
    return Greeting(version, _seconds_ahead(answer.headers.get("Date", ""), midway))


def kind_of_key(settings: StudioSettings) -> KindOfKey:
    """Which kind of token the key is, by its form.

    Raises:
        StudioKeyError: LABEL_STUDIO_API_KEY_FILE cannot be read, or holds no key.
    """
    if not settings.has_key:
        return "none"
    # A JWT has three parts, the other is 40 hex digits.
    return "personal access token" if read_key(settings).count(".") == 2 else "legacy token"


class Account:
    """Whom the key stands for."""

    def __init__(self, settings: StudioSettings, *, patience_seconds: float = 20) -> None:
        """`patience_seconds`: how long one call is repeated while Label Studio does not answer."""
        self._settings = settings
        self._calls = StudioCalls(settings, 0, patience_seconds=patience_seconds, timeout_seconds=60, stop=threading.Event())

    def name(self) -> str:
        """The user's email address.

        Raises:
            StudioKeyError: Label Studio does not accept the key.
        """
        user = self._calls.get("api/current-user/whoami")
        return str(user.get("email") or user["username"])

    def members(self) -> dict[int, str]:
        """The email address of each user of the organization, by the user's number."""
        return {int(user["id"]): str(user["email"]) for user in self._calls.get("api/users/")}

    def titles(self, *, containing: str | None = None) -> dict[int, str]:
        """Each project's title by its id, of at most a hundred projects; `containing`: of those whose title holds that."""
        named = {"title": containing} if containing else {}
        page = self._calls.get("api/projects/", include="id,title", page_size=100, **named)
        return dict(sorted((project["id"], project["title"]) for project in page["results"]))

    def projects_titled(self, title: str) -> list[int]:
        """The ids of the projects with exactly that title."""
        return [number for number, its in self.titles(containing=title).items() if its == title]

    def create_project(self, *, title: str, label_config: str) -> LabelStudioProject:
        """A new project of that title (at least 3 characters) and label config."""
        created = self._calls.post("api/projects/", {"title": title, "label_config": without_declaration(label_config)})
        return LabelStudioProject.for_daemon(self._settings, created["id"])


def _seconds_ahead(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (TypeError, ValueError):
        return None
