"""A cache of Hugging Face's hub, as if models had been fetched."""

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

    def move_on(self, model: Path, *, change: Callable[[Path], object] = lambda folder: None) -> str:
        """The commit of a model, changed at will, at which the id stands now."""
        commit = f"{len(list(self._repository.glob('snapshots/*'))):040x}"
        change(Path(shutil.copytree(model, self._repository / "snapshots" / commit)))
        (self._repository / "refs").mkdir(exist_ok=True)
        (self._repository / "refs" / "main").write_text(commit)
        return commit


def hub_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    """An empty one, which the libraries of Hugging Face read from."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return HubCache(folder)
