"""Whether a trainer is running. Apart from schedule.py, so that a health check does not load torch to ask."""

import time
from pathlib import Path

_HEARTBEAT = "trainer.alive"


def beat(model_dir: Path) -> None:
    """Marks this trainer as alive."""
    (model_dir / _HEARTBEAT).touch()


def is_alive(model_dir: Path, *, now: float | None = None) -> bool:
    """Whether a trainer marked itself as alive within the last 15 seconds."""
    try:
        return (time.time() if now is None else now) - (model_dir / _HEARTBEAT).stat().st_mtime < 15
    except OSError:
        return False
