"""What doctor looks at of the installation: Label Studio, the key, the backend's process, MODEL_DIR, the trainer, the device."""

import shlex
import tempfile

from backend.doctor.backend_checks import BACKEND_CHECKS
from backend.doctor.check import Check, CheckFailed
from backend.doctor.installation import Installation
from backend.doctor.model_checks import MODEL_CHECKS
from preference.errors import StudioKeyError, StudioUnreachable
from preference.formatting import duration
from preference.models.device import may_have_gpu, pick_device
from preference.projects.trainer_heartbeat import is_alive, seconds_since_alive
from preference.studio.account import Account, kind_of_key
from preference.studio.key import key_advice, name_of_key

_CLOCK_SECONDS = 60.0


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
    kind = kind_of_key(installation.settings.studio)
    try:
        return f"a {kind} of {Account(installation.settings.studio, patience_seconds=installation.patience_seconds).name()}"
    except StudioKeyError:
        refused = f"Label Studio refuses {name_of_key(installation.settings.studio)}, a {kind}"
        problem = "LABEL_STUDIO_API_KEY is not set" if kind == "none" else refused
    raise CheckFailed(problem, key_advice(installation.settings.studio))


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


INSTALLATION_CHECKS: tuple[Check[Installation], ...] = (
    Check("Label Studio", _studio),
    Check("clock", _clock, needs=["Label Studio"]),
    Check("key", _key, needs=["Label Studio"]),
    *BACKEND_CHECKS,
    Check("MODEL_DIR", _model_dir),
    Check("trainer", _trainer, needs=["MODEL_DIR"]),
    Check("device", _device),
    *MODEL_CHECKS,
)
