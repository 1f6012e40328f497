"""Where the tests write: in memory, where the machine has room for it there. A sync to a disk takes milliseconds, and they ask for many thousands."""

import os
import tempfile
from pathlib import Path

import psutil

MEMORY_DISK = Path("/dev/shm")  # Linux's; pytest makes a folder of its own in it, which only this user reads
_ROOM = 6 * 2**30  # bytes; a run needs a third of it at a time


def write_in_memory() -> None:
    """Makes MEMORY_DISK the folder for temporary files of this process and of those that it starts; TMPDIR of the user goes before."""
    if "TMPDIR" not in os.environ and has_room(MEMORY_DISK):
        os.environ["TMPDIR"] = str(MEMORY_DISK)
        tempfile.tempdir = None  # which may have been looked up already


def has_room(folder: Path) -> bool:
    """Whether the tests can write there, run what they wrote, and leave the machine enough memory."""
    try:
        state = os.statvfs(folder)
        memory = psutil.virtual_memory().available
    except OSError:
        return False
    runs_programs = not state.f_flag & os.ST_NOEXEC
    return os.access(folder, os.W_OK) and runs_programs and min(state.f_bavail * state.f_frsize, memory) > _ROOM
