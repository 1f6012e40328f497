"""Signatures of what the dashboard's page holds: nobody else's page has them.

Covered: every process on one MODEL_DIR reads the others' signatures; a token that is old, or of another project.
Not covered: somebody who may read MODEL_DIR.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden

from backend.contract.request_bodies import ButtonBody
from preference.atomic_files import write_whole, writing

_KEY, _KEY_BYTES = "dashboard.key", 32
_TOKEN_SECONDS, _MESSAGE_SECONDS = 12 * 3600, 120


@dataclass(frozen=True)
class Seen:
    """What of a project a page showed."""

    champion: str | None
    generator: str  # the version that answers, or "base"


class Signer:
    """Signs what a page holds and may bring back. Every process on one MODEL_DIR reads the others' signatures."""

    def __init__(self, model_dir: Path) -> None:
        """Makes the key if there is none yet.

        Raises:
            RegistryError: MODEL_DIR is full, or not writable, or the key is another user's.
        """
        key = _key(model_dir)
        self._tokens = URLSafeTimedSerializer(key, salt="pairloop-button")
        self._messages = URLSafeTimedSerializer(key, salt="pairloop-message")

    def token(self, project_id: int, seen: Seen) -> str:
        """What a button brings: that the page showed this project with this champion and this generator."""
        return str(self._tokens.dumps([project_id, seen.champion, seen.generator]))

    def seen_by(self, body: ButtonBody) -> Seen:
        """What the page showed.

        Raises:
            Forbidden: the token is not ours, too old, or another project's.
        """
        try:
            signed = self._tokens.loads(body.token, max_age=_TOKEN_SECONDS)
        except BadData:
            signed = None
        if not isinstance(signed, list) or len(signed) != 3 or signed[0] != body.project:
            raise Forbidden("That page was more than 12 hours old, or another server's; press once more on a fresh one.")
        return Seen(signed[1] if isinstance(signed[1], str) else None, str(signed[2]))

    def message(self, text: str) -> str:
        """A text that goes through the address of the next page."""
        return str(self._messages.dumps(text))

    def read_message(self, signed: str) -> str:
        """That text, for two minutes; empty for what is not ours."""
        try:
            return str(self._messages.loads(signed, max_age=_MESSAGE_SECONDS))
        except BadData:
            return ""


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
