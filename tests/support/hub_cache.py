"""A cache of Hugging Face's hub, as if models had been fetched."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants


class HubCache:
    """Holds one id, whose commits are folders of models."""

    def __init__(self, folder: Path, name: str = "tests/tiny") -> None:
        self.name = name
        self._repository = folder / f"models--{name.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit."""
        return self._repository / "snapshots" / commit

    def move_on(self, model: Path, *, change: Callable[[Path], object] = lambda folder: None) -> str:
        """The commit of a model, changed at will, at which the id stands now."""
        commit = f"{len(list(self._repository.glob('snapshots/*'))):040x}"
        snapshot = Path(shutil.copytree(model, self.snapshot(commit)))
        change(snapshot)
        blobs = self._repository / "blobs"
        blobs.mkdir(exist_ok=True)
        for path in list(snapshot.iterdir()):  # each a link to a file that is named by its content, as in a cache of the hub
            blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
            path.unlink() if blob.exists() else path.replace(blob)
            path.symlink_to(Path("..", "..", "blobs", blob.name))
        (self._repository / "refs").mkdir(exist_ok=True)
        (self._repository / "refs" / "main").write_text(commit)
        return commit


def hub_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    """An empty one, which the libraries of Hugging Face read from."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return HubCache(folder)
