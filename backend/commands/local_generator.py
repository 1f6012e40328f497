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
    """The served model of the project, and schedulers whose threads run for the time of the `with`."""
    torch.set_num_threads(settings.num_torch_threads)
    quiet_transformers()
    bench = Workbench.from_settings(settings, Metrics())
    bench.champions.of(project_id).refresh()
    threads = [threading.Thread(target=each.run, name="generator", daemon=True) for each in bench.schedulers]
    for thread in threads:
        thread.start()
    try:
        yield bench
    finally:
        bench.stop()
        for thread in threads:
            thread.join(10)
