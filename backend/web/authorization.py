"""Who may ask: basic auth, compared in constant time, or the webhook secret."""

import hmac

from flask import Request

from preference.setting_groups import ServerSettings


def is_authorized(request: Request, server: ServerSettings) -> bool:
    """Whether basic auth is off or right; /webhook may bring the webhook secret instead, all that its events can."""
    if not server.basic_auth_user:
        return True
    secret = server.webhook_secret.get_secret_value()
    if request.path == "/webhook" and secret and _is_same(request.headers.get("Authorization", ""), f"Bearer {secret}"):
        return True
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    is_user = _is_same(given.username or "", server.basic_auth_user)
    return _is_same(given.password or "", server.basic_auth_pass.get_secret_value()) and is_user


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
