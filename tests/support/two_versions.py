"""A project folder with two versions."""

from pathlib import Path

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.dying import CARD


def with_two_versions(model_dir: Path, *, num_bytes: int = 5_000) -> ProjectFolder:
    (model_dir / "draft").mkdir(parents=True)
    (model_dir / "draft" / "model.safetensors").write_bytes(b"x" * num_bytes)
    folder = ProjectFolder(model_dir, 3)
    Versions(folder).promote(Versions(folder).publish(model_dir / "draft", CARD))
    Versions(folder).publish(model_dir / "draft", CARD)
    return folder
