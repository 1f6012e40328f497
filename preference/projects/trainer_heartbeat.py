"""Whether a trainer is running. A small file, so that a health check does not load torch to ask."""

import os
import time
from contextlib import suppress
from pathlib import Path

_HEARTBEAT = "trainer.alive"
ALIVE_SECONDS = 15  # a trainer marks itself far oftener


def mark_alive(model_dir: Path) -> None:
    """Marks this trainer as alive, if MODEL_DIR can be written."""
    with suppress(OSError):
        (model_dir / _HEARTBEAT).touch()


def mark_stopped(model_dir: Path) -> None:
    """Marks this trainer as ended, which else would be known no sooner than 15 seconds later."""
    with suppress(OSError):
        ended = time.time() - ALIVE_SECONDS
        os.utime(model_dir / _HEARTBEAT, (ended, ended))


def is_alive(model_dir: Path, *, now: float | None = None) -> bool:
    """Whether a trainer marked itself as alive within the last 15 seconds."""
    age = seconds_since_alive(model_dir, now=now)
    return age is not None and age < ALIVE_SECONDS


def seconds_since_alive(model_dir: Path, *, now: float | None = None) -> float | None:
    """Seconds since a trainer last marked itself as alive; None if none ever did."""
    try:
        return (time.time() if now is None else now) - (model_dir / _HEARTBEAT).stat().st_mtime
    except OSError:
        return None
