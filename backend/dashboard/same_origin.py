"""Whether a request comes from our own page: other sites' pages press no button, whether or not the browser brings the password.

Covered: the browser must say that the request comes from our page (Sec-Fetch-Site, or Origin if it sends none).
Not covered: by which name it calls us, at which web/authorization.py looks before every route.
"""

from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden


def check_origin(request: Request) -> None:
    """Returns if the request is from a page of ours, or from no browser.

    Raises:
        Forbidden: it is from somebody else's page.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site == "same-origin" if site is not None else origin is None or _host(origin) == request.headers.get("Host")
    if not is_ours:
        raise Forbidden("The request comes from another site's page; press the button on the dashboard itself.")


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:  # "http://[" is none
        return ""
