"""Whether a request comes from our own page: other sites' pages press no button, whether or not the browser brings the password.

Covered: the browser must say that the request comes from our page (Sec-Fetch-Site, or Origin if it sends none). Without a
password, a name that somebody else's DNS may point at us (rebinding) is refused, too.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden

from preference.setting_groups import ServerSettings


def check_origin(request: Request, server: ServerSettings) -> None:
    """Returns if the request is from a page of ours, or from no browser.

    Raises:
        Forbidden: it is from somebody else's page.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site == "same-origin" if site is not None else origin is None or _parts(origin).netloc == request.host
    if not is_ours:
        raise Forbidden("The request comes from another site's page; press the button on the dashboard itself.")
    if not server.basic_auth_user and not _is_sure_name(request.host, server):
        raise Forbidden(
            "Without a password, buttons work at an IP address, at localhost and at BACKEND_URL's host; "
            "set BACKEND_URL, or BASIC_AUTH_USER and BASIC_AUTH_PASS."
        )


def _is_sure_name(host: str, server: ServerSettings) -> bool:
    """Whether nobody else's DNS decides where this host name leads."""
    name = (_parts(f"//{host}").hostname or "").lower()
    if name in ("localhost", server.host.lower(), (_parts(server.address).hostname or "").lower()):
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
