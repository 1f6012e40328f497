"""What the hardware offers a model: memory that is free, and number formats."""

import logging
import resource
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
import torch

from preference.models.number_formats import ComputedIn, NumberFormat, check_number_format

logger = logging.getLogger("pairloop.models")
_NUM_TOKENS, _WIDTH, _NUM_PRODUCTS = 64, 1024, 5  # a few milliseconds in each format
_WORTH_ROUNDING = 1.3  # times as fast; it is far from what processors have (0.6, 2), so that all processes on one choose the same
_measuring = threading.Lock()  # the number of threads is the process's: a second one would restore the 1 of the first
CGROUP = Path("/sys/fs/cgroup")  # of a container: its limits


def reward_dtype(asked: Literal["auto"] | NumberFormat, device: torch.device) -> NumberFormat:
    """The number format of sequence classifiers: bfloat16 on a GPU that has it.

    On a CPU it is float32 unless it is asked for: a base that a CPU has the time to train is small, and so is what bfloat16 saves.

    Raises:
        ModelError: what it needs is not installed.
    """
    if asked != "auto":
        check_number_format(asked)
        return asked
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_bf16 else "float32"


def feature_dtype(
    asked: Literal["auto"] | NumberFormat, device: torch.device, *, seconds: Callable[[torch.dtype], float] | None = None
) -> ComputedIn:
    """The number format in which a frozen base reads answers: bfloat16 if that is clearly faster here, logged with the reason.

    `seconds`: of one product on the CPU in a format; measured once a process if it is not given.
    """
    seconds = seconds or seconds_of_a_product
    if asked in ("float32", "bfloat16"):
        is_half, reason = asked == "bfloat16", "REWARD_DTYPE"
    elif device.type == "cpu":
        half, single = seconds(torch.bfloat16), seconds(torch.float32)
        is_half = half * _WORTH_ROUNDING <= single
        reason = f"auto: on this CPU a product takes {half * 1e3:.1f} ms in bfloat16, {single * 1e3:.1f} in float32"
    else:
        is_half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        reason = f"auto: the GPU {'computes in' if is_half else 'has no'} bfloat16"
    dtype: ComputedIn = "bfloat16" if is_half else "float32"
    logger.info("the reward model's base computes in %s (%s)", dtype, reason)
    return dtype


@cache
def seconds_of_a_product(dtype: torch.dtype) -> float:
    """How long the product of a batch of tokens and a layer's weights takes on the CPU: the least of some, since other programs disturb.

    On one thread: several wait for each other, twenty times as long as the product takes if other programs have the processors.
    """
    spent = []
    with _measuring:
        tokens, weights = torch.ones(_NUM_TOKENS, _WIDTH, dtype=dtype), torch.ones(_WIDTH, _WIDTH, dtype=dtype)
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for _ in range(_NUM_PRODUCTS):
                began = time.perf_counter()
                tokens @ weights.T
                spent.append(time.perf_counter() - began)
        finally:
            torch.set_num_threads(num_threads)
    return min(spent)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has taken so far: of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_bytes(device: torch.device, cgroup: Path = CGROUP) -> int:
    """The memory of the device that nobody uses. `cgroup`: the folder in which Linux says what a container may use."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:  # a container's limit, which psutil does not know
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return free
    # Files that were read, the weights among them, stay in memory until it is needed; docker and Kubernetes do not count them either.
    return max(0, min(free, limit - used + int(counts["inactive_file"])))
