"""One backend process put together; what its routes do is in test_app.py."""

import threading

from backend.serving.process import Backend
from tests.conftest import SettingsFactory


class Endless(threading.Thread):
    """A thread that outlasts every wait for it, and how long it was waited for."""

    def __init__(self, end: threading.Event) -> None:
        super().__init__(target=end.wait, daemon=True)
        self.waits: list[float] = []

    def join(self, timeout: float | None = None) -> None:
        assert timeout is not None
        self.waits.append(timeout)
        super().join(timeout)


def test_a_backend_waits_for_all_its_threads_together_no_longer_than_it_is_given(settings_for: SettingsFactory) -> None:
    backend, end = Backend(settings_for(generator_engine="echo")), threading.Event()
    threads = [Endless(end) for _ in range(3)]
    for thread in threads:
        thread.start()
    backend.threads = [*threads]

    backend.stop(timeout_seconds=0.1)
    end.set()

    first, *others = [wait for thread in threads for wait in thread.waits]
    assert 0 < first <= 0.1
    assert len(others) == 2 and max(others) < 0.05
