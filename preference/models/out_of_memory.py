"""Memory that runs out, on a GPU or on the CPU: how it is known, and how it is given back."""

import gc

import torch

# CUDA's and MPS's allocator, the CPU's, and CUDA's libraries: not all of them raise torch.OutOfMemoryError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch or Python ran out of memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Gives back what was freed."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
