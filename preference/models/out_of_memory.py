"""Memory that runs out, on a GPU or on the CPU: how it is known, and how it is given back."""

import ctypes
import gc

import torch

# CUDA's and MPS's allocator, the CPU's, and CUDA's libraries: not all of them raise torch.OutOfMemoryError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch or Python ran out of memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def return_freed_memory() -> None:
    """Gives back to the system what the C library keeps of what was freed, if that is glibc: tens of MB after a forward pass."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def release_memory(device: torch.device) -> None:
    """Gives back what was freed."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
