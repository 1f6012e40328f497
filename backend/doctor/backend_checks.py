"""The checks of doctor that call the backend: its address, whether it answers in time, who may call it, and its own report."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from backend.doctor.check import Check, CheckFailed
from backend.doctor.installation import Installation

_HEALTH_SECONDS = 1.0  # what Label Studio waits for an answer
_TRIES = 3  # as Label Studio has for /health
_START = "start it with these settings: pairloop-backend serve; if it runs elsewhere, set BACKEND_URL to its address"


def _address(installation: Installation) -> str:
    address, studio = installation.settings.server.address, installation.settings.studio.url
    if _is_unspecified(address):
        raise CheckFailed(
            f"{address} is where the backend listens, and no address to reach it at",
            "set BACKEND_URL to the backend's address as Label Studio reaches it, then connect",
        )
    if _is_loopback(address) and not _is_loopback(studio):
        raise CheckFailed(
            f"{address} is this machine, but Label Studio is at {studio}: for it, that is its own machine",
            "set BACKEND_URL to the backend's address as Label Studio reaches it, then connect",
        )
    aside = "; a Label Studio in a container does not reach it: set BACKEND_URL then" if _is_loopback(address) else ""
    return f"{address}{aside}"


def _backend(installation: Installation) -> str:
    settings = installation.settings
    local = f"http://{'127.0.0.1' if settings.server.host in ('0.0.0.0', '::') else settings.server.host}:{settings.server.port}"  # noqa: S104
    for address in dict.fromkeys([settings.server.address, local]):
        seconds = _health_seconds(installation, address)
        if seconds is None:
            continue
        installation.backend = address
        if seconds >= _HEALTH_SECONDS:
            raise CheckFailed(
                f"/health took {seconds:.1f} s; Label Studio waits {_HEALTH_SECONDS:.0f} s",
                "give its machine less to do, or raise THREADS, and start it again",
            )
        aside = (
            "" if address == settings.server.address else f" (BACKEND_URL={settings.server.address} does not answer from here)"
        )
        return f"/health in {1000 * seconds:.0f} ms at {address}{aside}"
    raise CheckFailed(f"nothing answers at {settings.server.address}/health", _START)


def _health_seconds(installation: Installation, address: str) -> float | None:
    """The best time of some tries, for the first one may wake a worker; None if nothing answers."""
    best = None
    for _ in range(_TRIES):
        began = installation.clock()
        try:
            answer = installation.web.get(
                f"{address}/health", timeout=5, auth=installation.basic_auth, headers=installation.host_header
            )
        except httpx.HTTPError:
            break
        took = installation.clock() - began
        try:
            installation.health = answer.raise_for_status().json()
            if installation.health["status"] != "UP":
                raise ValueError
        except (httpx.HTTPError, ValueError, TypeError, KeyError):
            raise CheckFailed(f"what answers at {address}/health is no Pairloop", _START) from None
        best = took if best is None else min(best, took)
        if best < _HEALTH_SECONDS:
            break
    return best


def _access(installation: Installation) -> str:
    server = installation.settings.server
    if "problems" not in installation.health:  # without a password, it answers at its own names alone
        other = (
            "BASIC_AUTH_USER and BASIC_AUTH_PASS" if server.basic_auth_user else "BASIC_AUTH_USER, BASIC_AUTH_PASS or BACKEND_URL"
        )
        raise CheckFailed(
            f"the backend runs with another {other} than this command",
            "start the backend again with the settings of this command, or run this command with the backend's",
        )
    return "basic auth is accepted" if server.basic_auth_user else "no basic auth is asked for"


def _problems(installation: Installation) -> str:
    problems = installation.health["problems"]
    if problems:
        raise CheckFailed("; ".join(map(str, problems)), "correct what that names; the backend's log says more")
    return "none" if installation.health.get("ready") else "none, a model is still being loaded"


BACKEND_CHECKS: tuple[Check[Installation], ...] = (
    Check("address", _address),
    Check("backend", _backend),
    Check("backend access", _access, needs=["backend"]),
    Check("backend problems", _problems, needs=["backend", "backend access"]),
)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_unspecified(url: str) -> bool:
    try:
        return ip_address(urlsplit(url).hostname or "").is_unspecified
    except ValueError:
        return False
