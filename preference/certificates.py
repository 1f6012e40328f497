"""The authorities that HTTPS trusts, read once a process and only if HTTPS is spoken.

httpx reads them for each client, which takes 50 ms: a tenth of a command that talks to a Label Studio over plain HTTP.
"""

import ssl
from functools import cache
from typing import Any

import httpx


class _LateContext(ssl.SSLContext):
    """Trusts nobody before the first handshake, and then whom httpx trusts."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return _context().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return _context().wrap_bio(*arguments, **options)


@cache
def certificates() -> ssl.SSLContext:
    """What httpx takes as `verify`."""
    return _LateContext(ssl.PROTOCOL_TLS_CLIENT)


@cache
def _context() -> ssl.SSLContext:
    """httpx's own: SSL_CERT_FILE, SSL_CERT_DIR, or certifi's."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])  # as httpx does with the one that it is given
    return context
