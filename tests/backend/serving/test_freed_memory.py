"""Memory that a process has freed and the C library keeps."""

import platform
import threading

import psutil
import pytest
import torch

from backend.serving.freed_memory import keep_returning
from demo.process import wait_until


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing, or cannot be asked")
def test_what_a_thread_has_freed_is_given_back_once_something_was_computed() -> None:
    stop, process = threading.Event(), psutil.Process()
    kept = [torch.ones(25_000) for _ in range(2_000)]  # 200 MB in pieces that are too small to be mapped each by itself
    held = kept[1::100]  # between them, so that the heap does not just end earlier
    before = process.memory_info().rss
    returning = threading.Thread(target=keep_returning, args=[stop], kwargs={"every_seconds": 0.02})
    del kept
    returning.start()
    try:
        wait_until(
            lambda: bool(torch.ones(300, 300).matmul(torch.ones(300, 300)).numel()) and before - process.memory_info().rss > 100 << 20,
            timeout_seconds=30, what="the memory", every_seconds=0.02,
        )  # fmt: skip
    finally:
        stop.set()
        returning.join()
    assert len(held) == 20
