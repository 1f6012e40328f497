"""What a bench's process runs in a test, without what a benchmark imports."""

import os
import signal


def killed_or_measured(name: str) -> tuple[str, list[object] | None, float]:
    """In the place of a benchmark, in its process."""
    if name == "order":
        os.kill(os.getpid(), signal.SIGKILL)
    return name, [], 1.0
