"""Where models compute: DEVICE, or what there is. Importing this loads no torch, which takes seconds."""

import ctypes
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from preference.errors import ModelError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("pairloop.models")


def pick_device(device: str) -> "torch.device":
    """The device to compute on, logged with the reason.

    Raises:
        ModelError: that device is not here.
    """
    import torch

    if device == "auto":
        name, reason = ("cuda", "a GPU is visible") if torch.cuda.is_available() else ("cpu", "no GPU is visible")
        logger.info("device %s (auto: %s)", name, reason)
        return torch.device(name)
    chosen = torch.device(device)
    num_here = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(chosen.type, 1)
    if not num_here:
        raise ModelError(f"DEVICE={device}, but torch {torch.__version__} sees no GPU; set DEVICE=cpu or install a CUDA build.")
    if (chosen.index or 0) >= num_here:
        raise ModelError(
            f"DEVICE={device}, but torch sees {num_here} GPU, counted from 0; set DEVICE=cuda:{num_here - 1} or less."
        )
    return chosen


def may_have_gpu() -> bool:
    """Whether this machine has what torch needs to see a GPU: NVIDIA's library, AMD's device, or Apple's system."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return sys.platform == "darwin" or Path("/dev/kfd").exists()
    return True
