"""Requests for a round, at most so many an hour: each is a round of training, whether there are new judgements or not.

The times are kept in the project's folder, so the limit holds for all workers and over their restarts. (PyPI's `limits`
would want a Redis for that.)
"""

import json
import math

from filelock import FileLock
from werkzeug.exceptions import TooManyRequests

from preference.atomic_files import write_whole, writing
from preference.projects.folder import ProjectFolder

MOST_AN_HOUR = 6
_HOUR = 3600.0  # seconds


def ask_for_round(folder: ProjectFolder, now: float) -> int:
    """Seconds to wait before a round may be asked for again; 0 if the trainer has the request now. `now`: Unix time.

    A request that the trainer has not taken yet stands for those after it.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    folder.create()
    path = folder.path / "rounds_asked_for.json"
    with writing(folder.path), FileLock(folder.path / ".rounds_asked_for.lock", timeout=10):
        if folder.is_requested("train"):
            return 0
        try:
            kept = [float(at) for at in json.loads(path.read_text(encoding="utf-8"))]
        except (FileNotFoundError, ValueError, TypeError):
            kept = []
        asked = [at for at in kept if now - _HOUR < at <= now]  # one that is ahead was kept before the clock was set back
        if len(asked) >= MOST_AN_HOUR:
            return math.ceil(asked[-MOST_AN_HOUR] + _HOUR - now)
        write_whole(path, json.dumps([*asked, now]), is_durable=False)
        folder.request("train")
    return 0


def too_often(wait_seconds: int) -> TooManyRequests:
    """The answer if `ask_for_round` says to wait."""
    return TooManyRequests(
        f"Training was asked for {MOST_AN_HOUR} times within an hour, which is the most; "
        f"ask again in {math.ceil(wait_seconds / 60)} min, or run pairloop-trainer once.",
        retry_after=wait_seconds,
    )


def retry_header(error: Exception) -> dict[str, str]:
    """When to ask again, as a header; empty if that is not known."""
    wait = getattr(error, "retry_after", None)  # of TooManyRequests and ServiceUnavailable
    return {} if wait is None else {"Retry-After": str(wait)}
