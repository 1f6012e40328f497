"""A generator in this process, for commands that answer prompts without a backend."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from backend.filling.workbench import Workbench
from backend.monitoring.metrics import Metrics
from preference.models.pretrained import quiet_transformers
from preference.settings import Settings


@contextmanager
def local_generator(settings: Settings, project_id: int) -> Iterator[Workbench]:
    """The served model of the project, and a scheduler whose thread runs for the time of the `with`."""
    torch.set_num_threads(settings.num_torch_threads)
    quiet_transformers()
    bench = Workbench.from_settings(settings, Metrics())
    bench.champions.of(project_id).refresh()
    thread = threading.Thread(target=bench.scheduler.run, name="generator", daemon=True)
    thread.start()
    try:
        yield bench
    finally:
        bench.scheduler.stop()
        thread.join(10)
