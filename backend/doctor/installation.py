"""The installation that doctor examines: its settings, and what earlier checks read with them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from preference.settings import Settings
from preference.studio.account import Greeting, greet


@dataclass
class Installation:
    """The settings, and what earlier checks read with them."""

    settings: Settings
    web: httpx.Client  # for what is asked of the backend
    patience_seconds: float = 10.0  # for Label Studio's answers
    clock: Callable[[], float] = time.monotonic  # gives seconds
    health: dict[str, Any] = field(default_factory=dict)  # what the backend answered
    backend: str = ""  # the address at which it answered this command

    @property
    def basic_auth(self) -> httpx.Auth:
        """The user and the password, as Label Studio sends them to the backend."""
        settings = self.settings
        if not settings.server.basic_auth_user:
            return httpx.Auth()  # which adds nothing
        return httpx.BasicAuth(settings.server.basic_auth_user, settings.server.basic_auth_pass.get_secret_value())

    @property
    def host_header(self) -> dict[str, str]:
        """The host of the backend's own address.

        With it, the backend remembers the address at which Label Studio reaches it, and not the one that doctor called.
        """
        return {"Host": urlsplit(self.settings.server.address).netloc}

    @cached_property
    def greeting(self) -> Greeting:
        """What Label Studio answers without a key."""
        return greet(self.settings.studio, timeout_seconds=self.patience_seconds)
