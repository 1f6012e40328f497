"""What the hardware offers a model: memory that is free, and a number format for rewards."""

from pathlib import Path
from typing import Literal

import psutil
import torch

from preference.models.number_formats import NumberFormat, check_number_format

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
