"""Who may ask: whoever brings the password, compared in constant time, or the webhook secret; without a password, whoever names us right.

Covered: a page of another site whose own DNS name leads to this backend (rebinding). To its browser we are that site, so neither
an origin nor a cookie stops it; but the name stays the other site's, and nobody registers those that are taken here.
Not covered: a network whose own DNS is hostile, and programs that name whatever host they like. A password covers both.
"""

import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from preference.setting_groups import ServerSettings

_HOST = re.compile(r"(?:([\w.-]+)|\[([0-9a-f:.]+)\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
# The public DNS has none of these: RFC 6761, 6762 (with its appendix G) and 8375, ICANN for internal, Kubernetes for svc.
_PRIVATE = (".localhost", ".local", ".internal", ".home.arpa", ".lan", ".home", ".corp", ".intranet", ".private", ".svc")


def refusal(request: Request, server: ServerSettings) -> HTTPException | None:
    """What to answer if the request may know no more than that the backend is up; None if it may ask for anything."""
    if server.basic_auth_user:
        if _brings_password(request, server):
            return None
        return Unauthorized("Basic auth is required.")
    if "Host" not in request.headers or _is_sure(host_of(request), server):  # every browser names a host
        return None
    return Forbidden(
        "Without a password, the backend answers at IP addresses, at names of your own network such as localhost and backend, and at "
        "BACKEND_URL's host; set BACKEND_URL to this address, or set BASIC_AUTH_USER and BASIC_AUTH_PASS."
    )


def host_of(request: Request) -> str:
    """The "host:port" by which the request names us; empty if it names none, or if that is no host's name.

    Not `request.host`, which is empty for names with a low line, as containers may have (werkzeug 3.1).
    """
    named = request.headers.get("Host", "")
    return named if _HOST.fullmatch(named) else ""


def _is_sure(host: str, server: ServerSettings) -> bool:
    """Whether nobody else's DNS decides where a host's name leads."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower().removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = (server.host.lower(), (urlsplit(server.address).hostname or "").lower())
        return name in own or "." not in name or name.endswith(_PRIVATE)
    return True


def _brings_password(request: Request, server: ServerSettings) -> bool:
    """Whether basic auth is right; /webhook may bring the webhook secret instead, all that its events can."""
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
