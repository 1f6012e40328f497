"""Memory that runs out, on a GPU or on the CPU: how it is known, and how it is given back."""

import ctypes
import gc
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def release_file_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Takes out of memory what is read from a file again when it is asked for: of tensors whose numbers a file has, all whole pages.

    Does nothing to others, to those of which anything was changed in memory, and where there is no Linux.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None:
        return
    mapped = list(_unchanged_file_memory())
    for tensor in tensors:
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        begin, end = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end and any(start <= first and last <= stop for start, stop in mapped):
            madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _unchanged_file_memory() -> Iterator[tuple[int, int]]:
    """The addresses, first and behind the last, of each part of this process's memory that is a file's, and as the file is."""
    try:
        lines = Path("/proc/self/smaps").read_text(errors="replace").splitlines()
    except OSError:
        return
    part: tuple[int, int] | None = None
    for line in lines:
        name, *values = line.split()
        if not name.endswith(":"):
            first, last = (int(address, 16) for address in name.split("-"))
            part = None if values[3] == "0" else (first, last)  # an inode
        elif name == "Anonymous:" and part is not None and values[0] == "0":
            yield part


def release_memory(device: torch.device) -> None:
    """Gives back what was freed."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
