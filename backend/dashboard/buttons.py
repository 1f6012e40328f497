"""What the dashboard's buttons do, and for whom: Train now, Roll back, Fill now.

Covered: other sites' pages cannot press one, whether or not the browser brings the password by itself: the browser must say
that the request comes from our own page (Sec-Fetch-Site, or Origin where it sends none), and the body must bring a token
that only our page holds, signed with a key that all workers read in MODEL_DIR. Without a password, a name that somebody
else's DNS may point at us (rebinding) is refused, too.
Not covered: somebody who may read MODEL_DIR.
"""

import ipaddress
import secrets
import time
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from filelock import FileLock
from flask import Request
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import ValidationError
from werkzeug.exceptions import Forbidden, HTTPException, TooManyRequests

from backend.contract.request_bodies import ButtonBody
from backend.contract.training_limit import ask_for_round, too_often
from preference.atomic_files import write_whole, writing
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import is_alive
from preference.projects.versions import Versions
from preference.settings import Settings

Name = Literal["train", "rollback", "fill"]
_KEY, _KEY_BYTES = "dashboard.key", 32
_PRESSED_SECONDS, _SAID_SECONDS = 12 * 3600, 120


class Signer:
    """Signs what a page holds and may bring back. Every process on one MODEL_DIR reads the others' signatures."""

    def __init__(self, model_dir: Path) -> None:
        """Makes the key where there is none yet.

        Raises:
            RegistryError: MODEL_DIR is full, or not writable, or the key is another user's.
        """
        key = _key(model_dir)
        self._tokens = URLSafeTimedSerializer(key, salt="pairloop-button")
        self._messages = URLSafeTimedSerializer(key, salt="pairloop-said")

    def token(self, project_id: int, champion: str | None) -> str:
        """What a button brings: that the page showed this project with this champion."""
        return str(self._tokens.dumps([project_id, champion]))

    def champion_of(self, body: ButtonBody) -> str | None:
        """The champion that the page showed.

        Raises:
            Forbidden: the token is not ours, too old, or another project's.
        """
        try:
            shown = self._tokens.loads(body.token, max_age=_PRESSED_SECONDS)
        except BadData:
            shown = None
        if not isinstance(shown, list) or len(shown) != 2 or shown[0] != body.project:
            raise Forbidden("That page was more than 12 hours old, or another server's; press once more on a fresh one.")
        return shown[1] if isinstance(shown[1], str) else None

    def message(self, text: str) -> str:
        """A text that goes through the address of the next page."""
        return str(self._messages.dumps(text))

    def said(self, signed: str) -> str:
        """That text, for two minutes; empty for what is not ours."""
        try:
            return str(self._messages.loads(signed, max_age=_SAID_SECONDS))
        except BadData:
            return ""


def check_origin(request: Request, settings: Settings) -> None:
    """Returns where the request comes from a page of ours, or from no browser.

    Raises:
        Forbidden: it comes from somebody else's page.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site == "same-origin" if site is not None else origin is None or _parts(origin).netloc == request.host
    if not is_ours:
        raise Forbidden("The request comes from another site's page; press the button on the dashboard itself.")
    if not settings.basic_auth_user and not _is_sure_name(request.host, settings):
        raise Forbidden(
            "Without a password, buttons work at an IP address, at localhost and at BACKEND_URL's host; "
            "set BACKEND_URL, or BASIC_AUTH_USER and BASIC_AUTH_PASS."
        )


def press(body: ButtonBody, settings: Settings, *, champion: str | None) -> str:
    """What came of it, as a sentence. `champion`: the one that the page showed.

    Raises:
        TooManyRequests: rounds were asked for too often.
        RegistryError: MODEL_DIR is full or not writable.
    """
    folder = ProjectFolder(settings.model_dir, body.project)
    if body.button == "train":
        return _train(folder, settings)
    if body.button == "fill":
        folder.request("fill")
        if not settings.label_studio_api_key.get_secret_value():
            return "Asked for, but LABEL_STUDIO_API_KEY is not set, so this backend fills nothing."
        return "Asked for: the filler looks for tasks without answers now."
    try:
        if Versions(folder).champion() != champion:
            return "Nothing was rolled back: the champion has changed since the page was loaded. Look again."
        return f"{Versions(folder).rollback(reason='on the dashboard')} is the champion again; backends load it within a second."
    except RegistryError as error:
        return f"Nothing was rolled back: {error}"
    except OSError as error:
        return f"Nothing was rolled back: {error.filename} cannot be read ({error.strerror})."
    except (ValueError, TypeError, KeyError, RecursionError):
        return "Nothing was rolled back: the log of promotions is damaged; use pairloop-trainer promote."


def refusal(error: HTTPException | ValidationError | RegistryError) -> tuple[str, int]:
    """Why a button did nothing, and the status that says so."""
    if isinstance(error, HTTPException):
        return error.description or error.name, error.code or 500
    if isinstance(error, RegistryError):
        return str(error), 503
    return "What came is no form of this page; press the button here.", 400


def retry_header(error: Exception) -> dict[str, str]:
    """When to press again, as a header; empty where that is not known."""
    return {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyRequests) else {}


def _train(folder: ProjectFolder, settings: Settings) -> str:
    if wait_seconds := ask_for_round(folder, time.time()):
        raise too_often(wait_seconds)
    if not is_alive(settings.model_dir):
        return "Asked for, but no trainer is running: start pairloop-trainer run, and the round begins."
    return "Asked for: the trainer begins a round within seconds, or after the one that is running."


def _is_sure_name(host: str, settings: Settings) -> bool:
    """Whether nobody else's DNS decides where this host name leads."""
    name = (_parts(f"//{host}").hostname or "").lower()
    if name in ("localhost", settings.host.lower(), (_parts(settings.address).hostname or "").lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # "http://[" is none
        return SplitResult("", "", "", "", "")


def _key(model_dir: Path) -> bytes:
    path = model_dir / _KEY
    with writing(model_dir):
        key = _read_key(path)
        if key is None:
            model_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(model_dir / ".dashboard.lock", timeout=10):
                key = _read_key(path) or _make_key(path)
    return key


def _read_key(path: Path) -> bytes | None:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make_key(path: Path) -> bytes:
    """A new key, in a file that its user alone may read."""
    key = secrets.token_bytes(_KEY_BYTES)
    write_whole(path, key, is_private=True)
    return key
