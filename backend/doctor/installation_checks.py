"""What doctor looks at of the installation: Label Studio, the key, the backend's process, MODEL_DIR, the trainer, the models."""

import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from backend.doctor.check import Check, CheckFailed
from backend.generators.engines import ENGINES
from preference.errors import ModelError, StudioKeyError, StudioUnreachable
from preference.formatting import duration
from preference.models.device import may_have_gpu, pick_device
from preference.models.files import check_model_files, title
from preference.projects.trainer_heartbeat import is_alive, seconds_since_alive
from preference.settings import Settings
from preference.studio.account import Account, Greeting, greet, kind_of_key

HEALTH_SECONDS, SETUP_SECONDS = 1.0, 3.0  # what Label Studio waits for an answer
_CLOCK_SECONDS = 60.0
_TRIES = 3  # as Label Studio has for /health
_START = "start it with these settings: pairloop-backend serve; if it runs elsewhere, set BACKEND_URL to its address"


@dataclass
class Installation:
    """The settings, and what the checks so far read with them."""

    settings: Settings
    web: httpx.Client  # for what is asked of the backend
    patience_seconds: float = 10.0  # for Label Studio's answers
    clock: Callable[[], float] = time.monotonic  # gives seconds
    health: dict[str, Any] = field(default_factory=dict)  # what the backend answered
    backend: str = ""  # the address at which it answered this command

    @property
    def basic_auth(self) -> httpx.Auth:
        """As Label Studio sends it to the backend."""
        settings = self.settings
        if not settings.server.basic_auth_user:
            return httpx.Auth()  # which adds nothing
        return httpx.BasicAuth(settings.server.basic_auth_user, settings.server.basic_auth_pass.get_secret_value())

    @property
    def host_header(self) -> dict[str, str]:
        """So that the backend remembers the address by which Label Studio reaches it, and not the one from here."""
        return {"Host": urlsplit(self.settings.server.address).netloc}

    @cached_property
    def greeting(self) -> Greeting:
        """What Label Studio answers without a key."""
        return greet(self.settings, timeout_seconds=self.patience_seconds)


def _studio(installation: Installation) -> str:
    try:
        return f"{installation.greeting.version} at {installation.settings.studio.url}"
    except StudioUnreachable as error:
        raise CheckFailed(
            str(error), "start Label Studio, or set LABEL_STUDIO_URL to its address as this machine reaches it"
        ) from None


def _clock(installation: Installation) -> str:
    ahead = installation.greeting.clock_ahead_seconds
    if ahead is None:
        return "Label Studio sends no time"
    if abs(ahead) > _CLOCK_SECONDS:
        side = "ahead of" if ahead > 0 else "behind"
        raise CheckFailed(
            f"Label Studio's clock is {abs(ahead):.0f} s {side} this machine's",
            "have both machines set their clocks by the network: timedatectl set-ntp true",
        )
    return f"within {max(1.0, abs(ahead)):.0f} s of Label Studio's"


def _key(installation: Installation) -> str:
    kind = kind_of_key(installation.settings)
    try:
        return f"a {kind} of {Account(installation.settings, patience_seconds=installation.patience_seconds).name()}"
    except StudioKeyError:
        found = "LABEL_STUDIO_API_KEY is not set" if kind == "none" else f"Label Studio refuses LABEL_STUDIO_API_KEY, a {kind}"
    raise CheckFailed(
        found,
        "make a personal access token (Account & Settings > Personal Access Token), or a legacy token if the organization "
        "allows those, and set LABEL_STUDIO_API_KEY to it",
    )


def _backend(installation: Installation) -> str:
    settings = installation.settings
    local = f"http://{'127.0.0.1' if settings.server.host in ('0.0.0.0', '::') else settings.server.host}:{settings.server.port}"  # noqa: S104
    for address in dict.fromkeys([settings.server.address, local]):
        seconds = _health_seconds(installation, address)
        if seconds is None:
            continue
        installation.backend = address
        if seconds >= HEALTH_SECONDS:
            raise CheckFailed(
                f"/health took {seconds:.1f} s; Label Studio waits {HEALTH_SECONDS:.0f} s",
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
        if best < HEALTH_SECONDS:
            break
    return best


def _access(installation: Installation) -> str:
    if "problems" not in installation.health:
        raise CheckFailed(
            "the backend runs with another BASIC_AUTH_USER and BASIC_AUTH_PASS than this command",
            "start the backend again with the settings of this command, or run this command with the backend's",
        )
    return "basic auth is accepted" if installation.settings.server.basic_auth_user else "no basic auth is asked for"


def _problems(installation: Installation) -> str:
    problems = installation.health["problems"]
    if problems:
        raise CheckFailed("; ".join(map(str, problems)), "correct what that names; the backend's log says more")
    return "none" if installation.health.get("ready") else "none, a model is still being loaded"


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


def _model_dir(installation: Installation) -> str:
    folder = installation.settings.model_dir.absolute()
    if not folder.exists():
        raise CheckFailed(
            f"MODEL_DIR={folder} is not there",
            "set MODEL_DIR to the folder of the backend and the trainer; a new one is made by pairloop-backend serve",
        )
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise CheckFailed(
            f"MODEL_DIR={folder} is not writable ({error.strerror})",
            "mount it read-write, give this user the right to write there, or set MODEL_DIR to another folder",
        ) from None
    return f"{folder} is writable"


def _trainer(installation: Installation) -> str:
    folder = installation.settings.model_dir.absolute()
    age = seconds_since_alive(folder)
    if age is None:
        raise CheckFailed(
            f"no trainer ever ran on MODEL_DIR={folder}",
            f"start one: MODEL_DIR={shlex.quote(str(folder))} pairloop-trainer run; one that runs already has another MODEL_DIR",
        )
    if not is_alive(folder):
        raise CheckFailed(
            f"the trainer of MODEL_DIR={folder} was last alive {duration(age)} ago", "start it again: pairloop-trainer run"
        )
    return f"alive on {folder}"


def _device(installation: Installation) -> str:
    """Torch takes seconds to load, and is asked only if it could say anything else than "cpu"."""
    if installation.settings.device in ("auto", "cpu") and not may_have_gpu():
        return "cpu (no GPU is visible)"
    import torch

    device = pick_device(installation.settings.device)
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"{device} ({'a GPU is visible' if torch.cuda.is_available() else 'no GPU is visible'})"


def _generator(installation: Installation) -> str:
    engine, model = installation.settings.generator.engine, installation.settings.generator.model
    if engine == "huggingface":
        return f"huggingface: {_model('GENERATOR_MODEL', model)}"
    return f"{engine}: {ENGINES[engine](installation.settings).name}"  # which asks the server for its models


def _reward_base(installation: Installation) -> str:
    return _model("REWARD_BASE", installation.settings.training.reward_base)


def _model(variable: str, model: str) -> str:
    """Nothing heavy: only the model's files are looked at."""
    try:
        check_model_files(model)
    except ModelError as error:
        found, _, fix = str(error).rpartition("; ")
        raise CheckFailed(f"{variable}={model}: {found}", fix) from None
    return title(model)


INSTALLATION_CHECKS: tuple[Check[Installation], ...] = (
    Check("Label Studio", _studio),
    Check("clock", _clock, needs=["Label Studio"]),
    Check("key", _key, needs=["Label Studio"]),
    Check("address", _address),
    Check("backend", _backend),
    Check("backend access", _access, needs=["backend"]),
    Check("backend problems", _problems, needs=["backend", "backend access"]),
    Check("MODEL_DIR", _model_dir),
    Check("trainer", _trainer, needs=["MODEL_DIR"]),
    Check("device", _device),
    Check("generator", _generator),
    Check("reward base", _reward_base),
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
