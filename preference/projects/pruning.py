"""What stays of a version whose weights are not kept: its card, its log, its README and the pictures in that.

Covered: a kill at any time: the marker is written first, so that a half-pruned version is refused like a pruned one, and the next
pruning ends it.
"""

from contextlib import suppress
from pathlib import Path

from preference.atomic_files import write_whole
from preference.projects.promotions import PROMOTIONS

_MARKER = "pruned"
_KEPT_FILES, _KEPT_KINDS = {"card.json", PROMOTIONS, _MARKER}, {".md", ".svg"}


def is_pruned(version: Path) -> bool:
    """Whether a version's weights were removed, or are being removed."""
    return (version / _MARKER).exists()


def holds_weights(version: Path) -> bool:
    """Whether a version has weights of its own, which one of REWARD_MODEL has not; True of one that is being pruned."""
    return next(version.rglob("*.safetensors"), None) is not None


def prune(version: Path) -> None:
    """Removes all that is not for readers from the folder of a version. The caller holds the project's lock.

    Raises:
        OSError: the folder is not writable.
    """
    if not is_pruned(version):
        write_whole(version / _MARKER, "")
    # What is in a folder before the folder, and weights last: while there are some, a later pruning goes on.
    for path in sorted(version.rglob("*"), key=lambda path: (path.suffix != ".safetensors", path), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # something in it is kept
                path.rmdir()
        elif path.name not in _KEPT_FILES and path.suffix not in _KEPT_KINDS:
            path.unlink()
